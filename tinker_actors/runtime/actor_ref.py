"""References to actors, and what `proxy()` shows of an actor: what it offers, and nothing of its insides.

An actor that stands behind something users hold is represented by that: `proxy()` of its reference is then the proxy of
the client. The others can be stopped.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import pykka

from tinker_actors.wording import nearest

A = TypeVar("A", bound=pykka.Actor)


class Proxied(Protocol):
    """What users hold of an actor."""

    def proxy(self) -> Any:
        """Return a proxy of it."""
        ...


class RuntimeRef(pykka.ActorRef[A]):
    """A reference to an actor of this package. Thread-safe."""

    _represented: weakref.ref[Proxied] | None = None

    def represent(self, client: Proxied) -> None:
        """Have `proxy()` give the proxy of `client` while somebody holds that."""
        self._represented = weakref.ref(client)

    def proxy(self) -> Any:
        """Return a proxy: that of the client which stands for the actor; without one it offers `stop` alone.

        Raises:
            pykka.ActorDeadError: the actor has ended.
        """
        if not self.is_alive():
            raise pykka.ActorDeadError(f"{self} not found")
        client = None if self._represented is None else self._represented()
        return RefProxy(self) if client is None else client.proxy()


class Proxy:
    """Base of proxies. What is public in the class is offered, and nothing can be set."""

    def _offers(self) -> list[str]:
        return [name for name in object.__dir__(self) if not name.startswith("_")]

    def __dir__(self) -> list[str]:
        return sorted(self._offers())

    if not TYPE_CHECKING:  # with it, type checkers would take every name

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(self._lacks(name), name=name, obj=self)

    def _lacks(self, name: str) -> str:
        meant = None if name.startswith("_") else nearest(name, dir(self))
        hint = "it" if meant is None else f"did you mean {meant!r}? It"
        return f"{self!r} has no {name!r}; {hint} offers {', '.join(dir(self))}."

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name!r} can't be set through {self!r}; what it offers can be called and read.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} can't be deleted through {self!r}; what it offers can be called and read.")


class RefProxy(Proxy):
    """A proxy of an actor that nothing represents: it offers what the actor's class says (`RuntimeActor.offered`).

    Args:
        actor_ref: the actor's.
    """

    actor_ref: pykka.ActorRef[Any]

    def __init__(self, actor_ref: pykka.ActorRef[Any]) -> None:
        self.__dict__["actor_ref"] = actor_ref

    def _offers(self) -> list[str]:
        return ["actor_ref", *self.actor_ref.actor_class.offered]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            ref = self.actor_ref
            if name not in ref.actor_class.offered:
                raise AttributeError(self._lacks(name), name=name, obj=self)
            if callable(getattr(ref.actor_class, name, None)):
                return pykka.CallableProxy(actor_ref=ref, attr_path=(name,))
            return ref.ask(pykka.messages.ProxyGetAttr(attr_path=(name,)), block=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RefProxy) and other.actor_ref is self.actor_ref

    def __hash__(self) -> int:
        return hash(self.actor_ref)

    def __repr__(self) -> str:
        return f"<proxy of {self.actor_ref}>"
