"""Twins: the `*_async` methods, each with the signature of the method it is the twin of.

What is decorated gives a twin its name and docstring and has no body. So no signature is written twice, and type
checkers, editors and `inspect.signature` see the arguments that the method takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_FUTURE = "APIFuture["


def submits(
    method: Callable[Concatenate[S, P], R],
) -> Callable[[Callable[[S], None]], Callable[Concatenate[S, P], Coroutine[Any, Any, R]]]:
    """Make the twin of a method that gives a future or handle: a coroutine function that gives it as well.

    Args:
        method: in the same class; what a subclass puts in its place is called.
    """
    name = method.__name__

    def make(named: Callable[[S], None]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
        async def twin(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            submit: Callable[P, R] = getattr(self, name)
            return submit(*args, **kwargs)

        return _dressed(twin, named, inspect.signature(method))

    return make


def awaits(
    method: Callable[Concatenate[S, P], Awaitable[R]],
) -> Callable[[Callable[[S], None]], Callable[Concatenate[S, P], Coroutine[Any, Any, R]]]:
    """Make the twin of a method that gives a future or handle: a coroutine function that awaits it.

    Args:
        method: in the same class; what a subclass puts in its place is called.
    """
    name = method.__name__

    def make(named: Callable[[S], None]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
        async def twin(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            submit: Callable[P, Awaitable[R]] = getattr(self, name)
            return await submit(*args, **kwargs)

        signature = inspect.signature(method)
        given = signature.return_annotation
        if given.startswith(_FUTURE):  # awaiting a handle gives the handle
            signature = signature.replace(return_annotation=given.removeprefix(_FUTURE)[:-1])
        return _dressed(twin, named, signature)

    return make


def _dressed(function: F, named: Callable[[Any], None], signature: inspect.Signature) -> F:
    """Return a twin that says that it is what it was made for."""
    twin: Any = function
    twin.__name__, twin.__qualname__ = named.__name__, named.__qualname__
    twin.__module__, twin.__doc__ = named.__module__, named.__doc__
    twin.__signature__ = signature
    annotations = {each.name: each.annotation for each in signature.parameters.values()}
    annotations["return"] = signature.return_annotation
    twin.__annotations__ = {name: given for name, given in annotations.items() if given is not inspect.Parameter.empty}
    return function
