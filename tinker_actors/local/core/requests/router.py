"""Router: which handler a request goes to, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from tinker_actors.local.core import about, polling, sessions
from tinker_actors.local.core.checkpoints import archives, checkpointing
from tinker_actors.local.core.models import modeling, training
from tinker_actors.local.core.requests.intake import PREFIX
from tinker_actors.local.core.requests.messages import Answer, Hold, RefusedError
from tinker_actors.local.core.rest.routes import REST_ROUTES
from tinker_actors.local.core.samples import sampling
from tinker_actors.local.core.samples.streams import Stream

Handler = Callable[..., Answer | Hold | Stream]
"""(core, request, now, *ids of the path) -> answer, hold or stream."""

ROUTES: dict[str, tuple[str, Handler]] = {
    "healthz": ("GET", about.healthz),
    "get_server_capabilities": ("GET", about.get_server_capabilities),
    "client/config": ("POST", about.client_config),
    "client/dynamic_config": ("POST", about.client_dynamic_config),
    "telemetry": ("POST", about.telemetry),
    "create_session": ("POST", sessions.create_session),
    "session_heartbeat": ("POST", sessions.session_heartbeat),
    "sessions/{}/finish": ("POST", sessions.finish_session),
    "create_model": ("POST", modeling.create_model),
    "get_info": ("POST", modeling.get_info),
    "unload_model": ("POST", modeling.unload_model),
    "forward": ("POST", training.forward),
    "forward_backward": ("POST", training.forward_backward),
    "optim_step": ("POST", training.optim_step),
    "save_weights": ("POST", checkpointing.save_weights),
    "load_weights": ("POST", checkpointing.load_weights),
    "save_weights_for_sampler": ("POST", checkpointing.save_weights_for_sampler),
    "weights_info": ("POST", checkpointing.weights_info),
    "create_sampling_session": ("POST", sampling.create_sampling_session),
    "samplers/{}": ("GET", sampling.get_sampler),
    "join_sampling_session": ("POST", sampling.join_sampling_session),
    "asample": ("POST", sampling.asample),
    "stream_sample": ("POST", sampling.stream_sample),
    "retrieve_future": ("POST", polling.retrieve_future),
    "retrieve_futures": ("POST", polling.retrieve_futures),
    "cancel_future": ("POST", polling.cancel_future),
}
"""Path below the prefix, `{}` for an id -> method and handler (wire protocol 2)."""


OPEN: frozenset[Handler] = frozenset({about.healthz, archives.download_archive})
"""Handlers that need no key; the second one's links are signed."""

_CHECKPOINT_PARTS = 2


_ALL = [
    *((tuple(pattern.split("/")), wanted, handler) for pattern, (wanted, handler) in ROUTES.items()),
    *((tuple(pattern.split("/")), wanted, handler) for wanted, pattern, handler in REST_ROUTES),
]


class Found(NamedTuple):
    """A handler, and the ids that the path holds."""

    handler: Handler
    ids: tuple[str, ...]


def route(method: str, path: str) -> Found:
    """Find the handler for a request.

    Args:
        method: the HTTP method.
        path: percent-encoded, with or without a query.

    Raises:
        RefusedError: 404 for a path that leads nowhere, 405 for a method it does not have.
    """
    bare = path.partition("?")[0]
    if bare.startswith(PREFIX):
        parts = bare.removeprefix(PREFIX).split("/")
        others = []
        for pattern, wanted, handler in _ALL:
            ids = _match(pattern, parts)
            if ids is None:
                continue
            if method == wanted or (method, wanted) == ("HEAD", "GET"):
                return Found(handler, ids)
            others.append(wanted)
        if others:
            allowed = ", ".join(others)
            raise RefusedError(405, f"{bare[:200]} is for {allowed}, not {method[:20]}.", ("allow", allowed))
    raise RefusedError(404, f"There is no {bare[:200]!r} on this server.")


def _match(pattern: tuple[str, ...], parts: list[str]) -> tuple[str, ...] | None:
    ids, place = [], 0
    for expected in pattern:
        # A checkpoint's id has a slash in it, which some clients encode.
        width = _CHECKPOINT_PARTS if expected == "{ckpt}" and "%2f" not in "".join(parts[place:][:1]).lower() else 1
        found = parts[place : place + width]
        if len(found) < width:
            return None
        if expected in ("{}", "{ckpt}"):
            ids.append(unquote("/".join(found)))
        elif [expected] != found:
            return None
        place += width
    return tuple(ids) if place == len(parts) else None
