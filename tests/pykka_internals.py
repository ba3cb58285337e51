"""What the tests use of pykka that is private, beside `tinker_actors/runtime/pykka_internals.py`.

Relied on: `ActorRef` keeps its actor in `_actor_weakref`, or in `_actor`; `Actor.start` registers an actor that is
made, and calls its `_start_actor_loop`; a `ThreadingActor` takes its inbox from `_create_actor_inbox`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka


def actor_of(ref: pykka.ActorRef[Any]) -> Any:
    """Return the actor behind a reference, to look into it or to break it."""
    weakly = getattr(ref, "_actor_weakref", None)  # before pykka 4.4.1 references kept their actors
    return ref._actor if weakly is None else weakly()


def start(actor: pykka.ThreadingActor) -> None:
    """Run an actor of pykka's own that was made before."""
    pykka.ActorRegistry.register(actor.actor_ref)
    actor._start_actor_loop()


def with_inbox(make_inbox: Callable[[], Any]) -> type[pykka.ThreadingActor]:
    """Return a class of pykka's own actors with another inbox."""
    return type("Other", (pykka.ThreadingActor,), {"_create_actor_inbox": staticmethod(make_inbox)})
