"""Proxies: a client in pykka's words, with futures that flatten.

A proxy of pykka wraps whatever a method returns in a future; where the method itself returns a future, one needs two
`get()`. Here one `get()` is the result: of an operation its own future is given, of a method that waits the future of
what it waits for, of one that makes a client a future that is done when the server has made it, and of the others one
that is done.

A call is the client's own call, made in the caller's thread: arguments are checked there, and what is called through a
proxy and through the client is one sequence. It never waits, also where the client's does.

For type checkers, a proxied method has the parameters of the client's and the type of its result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from tinker_actors.clients.handle import Handle
from tinker_actors.runtime.actor_ref import Proxy, RuntimeRef
from tinker_actors.runtime.futures import APIFuture, resolved
from tinker_actors.runtime.staying import Staying

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")


_ELSEWHERE = "Pickle a sampling client itself, and make a proxy of the copy."


class ClientProxy(Proxy, Staying, Generic[C]):
    """Calls a client's methods and reads its attributes; both give futures. Thread-safe.

    It holds its client. Two proxies of one client are equal.

    Args:
        client: the client to call.
    """

    _elsewhere = _ELSEWHERE
    _client: C

    def __init__(self, client: C) -> None:
        self.__dict__["_client"] = client

    def _lacks(self, name: str) -> str:
        plain = name.removesuffix("_async")
        if plain != name and plain in dir(self):
            return f"{name!r} is not called through a proxy: await what {plain}() gives."
        return super()._lacks(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientProxy) and other._client is self._client

    def __hash__(self) -> int:
        return hash((ClientProxy, id(self._client)))

    def __repr__(self) -> str:
        return f"<proxy of {self._client!r}>"


class ProxiedMethod(Generic[P, R]):
    """A method of a proxy's class: what it is called is what the client's is called.

    Args:
        shown: the function whose parameters and documentation it has.
        own: whether to call that function with the client, instead of the client's method.
    """

    def __init__(self, shown: Callable[..., Any], *, own: bool = False) -> None:
        self.__doc__ = shown.__doc__
        self.shown = shown
        self._own = own

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name

    def __call__(self, proxy: ClientProxy[Any], /, *args: P.args, **kwargs: P.kwargs) -> APIFuture[R]:
        """Call it on a proxy, as a function of a class can be called."""
        return self.__get__(proxy, type(proxy))(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return _signature(self.shown)

    @overload
    def __get__(self, proxy: None, owner: type) -> Self: ...

    @overload
    def __get__(self, proxy: ClientProxy[Any], owner: type) -> ProxyMethod[P, R]: ...

    def __get__(self, proxy: ClientProxy[Any] | None, owner: type) -> Self | ProxyMethod[P, R]:
        if proxy is None:
            return self
        return ProxyMethod(proxy, self.__name__, self.shown, self._call(proxy._client))

    def _call(self, client: Any) -> Callable[..., Any]:
        if self._own:
            return self.shown.__get__(client)  # type: ignore[no-any-return]
        waits_for = getattr(client, f"_{self.__name__}_future", None)  # what a method that waits, or may, is made of
        return waits_for or getattr(client, self.__name__)  # type: ignore[no-any-return]


class ProxyMethod(Staying, Generic[P, R]):
    """One method of one proxy; pykka's `CallableProxy` with a type."""

    _elsewhere = _ELSEWHERE

    def __init__(self, proxy: ClientProxy[Any], name: str, shown: Callable[..., Any], call: Callable[..., Any]) -> None:
        self.__doc__ = shown.__doc__
        self.__name__ = name
        self._proxy = proxy
        self._shown = shown
        self._call = call

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> APIFuture[R]:
        """Call it; return a future of its result. What is wrong with the arguments is raised here."""
        try:
            value = self._call(*args, **kwargs)
        except TypeError:
            self._check(args, kwargs)
            raise
        if isinstance(value, APIFuture):
            return value
        made = getattr(value, "_result_future", None)
        future: APIFuture[R] = resolved(value, self.__name__) if made is None else made()
        return future

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call it without keeping the future. A failure is logged at ERROR, as of every future that is dropped."""
        self(*args, **kwargs)

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Say under its own name what is wrong with how it was called, if something is."""
        try:
            self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}() of {self._proxy!r}: {error}") from None

    @property
    def __signature__(self) -> inspect.Signature:
        signature = _signature(self._shown)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __repr__(self) -> str:
        return f"<{self.__name__} of {self._proxy!r}>"


def _signature(shown: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature, with a future of what it returns where that is none."""
    signature = inspect.signature(shown)
    given = str(signature.return_annotation)
    return signature.replace(return_annotation=given if given.startswith("APIFuture[") else f"APIFuture[{given}]")


def submitting(method: Callable[Concatenate[Any, P], APIFuture[R]]) -> ProxiedMethod[P, R]:
    """Proxy a method that returns a future."""
    return ProxiedMethod(method)


def returning(method: Callable[Concatenate[Any, P], R]) -> ProxiedMethod[P, R]:
    """Proxy a method that returns a value, at once or after waiting for it, or a handle."""
    return ProxiedMethod(method)


# ---------------------------------------------------------------- what all clients with an actor have


class HasActor(Protocol):
    """A client that stands for an actor."""

    actor_ref: RuntimeRef[Any]


A = TypeVar("A", bound=HasActor)


def _stop(client: HasActor) -> None:
    """Stop the actor, as pykka's `stop` does: what was called before is begun, and what it owes fails at once.

    Does not wait for that; to finish what is in flight, use `barrier` or `ServiceClient.close`.
    """
    client.actor_ref.stop(block=False)


class ActorProxy(ClientProxy[A]):
    """A proxy of a client that stands for an actor."""

    stop: ProxiedMethod[[], None] = ProxiedMethod(_stop, own=True)

    @property
    def actor_ref(self) -> RuntimeRef[Any]:
        """The pykka reference of the client's actor; its `proxy()` is equal to this one."""
        return self._client.actor_ref


H = TypeVar("H", bound=Handle)


class HandleProxy(ActorProxy[H]):
    """A proxy of a client that the server has to make something for."""

    done: Final = returning(Handle.done)
    add_done_callback: Final = returning(Handle.add_done_callback)

    def result(self, timeout: float | None = None) -> APIFuture[H]:
        """Return a future of the client itself, done when the server has made what it stands for.

        Args:
            timeout: seconds after which the future fails with `DeadlineExceededError`; creation goes on.
        """
        return self._client._result_future(timeout)
