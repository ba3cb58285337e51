"""Proxies: a client in pykka's words, with futures that flatten.

A proxy of pykka wraps whatever a method returns in a future; when the method itself returns a future, one needs two
`get()`. Here one `get()` is the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tinker_actors.errors import InvalidInputError
from tinker_actors.runtime.futures import APIFuture, resolved
from tinker_actors.runtime.staying import Staying


class ClientProxy(Staying):
    """Calls a client's methods; every call returns an `APIFuture`.

    Arguments are checked in the caller's thread, and what is wrong with them is raised there. Thread-safe.

    Args:
        client: the client to call.
    """

    _elsewhere = "Pickle a sampling client itself, and make a proxy of the copy."

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def actor_ref(self) -> Any:
        """The client's actor."""
        return self._client.actor_ref

    def __getattr__(self, name: str) -> ProxyMethod:
        method = getattr(self._client, name)
        if name.startswith("_") or not callable(method) or inspect.iscoroutinefunction(method):
            raise InvalidInputError(f"{name} can't be called through a proxy; use the client itself.")
        return ProxyMethod(getattr(self._client, f"_{name}_future", method))

    def __repr__(self) -> str:
        return f"<proxy of {self._client!r}>"


class ProxyMethod(Staying):
    """One method of a proxied client."""

    _elsewhere = "Pickle a sampling client itself, and make a proxy of the copy."

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> APIFuture[Any]:
        """Call it; return the future it gives, or one that has its plain result already."""
        value = self._method(*args, **kwargs)
        if isinstance(value, APIFuture):
            return value
        return resolved(value, self._method.__name__)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Call it without keeping the result; a failure is logged at ERROR."""
        self._method(*args, **kwargs)
