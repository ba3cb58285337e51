"""Spelling: a keyword argument that does not exist is answered with the one that was probably meant."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.scalars import shown
from tinker_actors.wording import nearest

if TYPE_CHECKING:
    from msgspec import StructMeta as SpelledMeta  # so that checkers see the fields as the constructor's parameters
else:
    from msgspec import StructMeta

    _make = StructMeta.__call__  # looked up once: `super()` takes as long as all the rest

    class SpelledMeta(StructMeta):
        """Class of the records that users make, at half a microsecond each; those from the wire do not come by here."""

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - of a metaclass
            """Make a record."""
            try:
                return _make(cls, *args, **kwargs)
            except TypeError as error:
                raise _explained(error, cls.__name__, cls.__struct_fields__) from None
            finally:
                del args, kwargs  # there may be a key among them, and crash reports show what frames hold


__all__ = ["SpelledMeta", "check_names", "did_you_mean", "spelled"]

P = ParamSpec("P")
R = TypeVar("R")

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'$", re.IGNORECASE)


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Return the hint that stands behind an unknown name: the nearest one in brackets, or nothing."""
    meant = nearest(str(name), known)
    return "" if meant is None else f" (did you mean {meant!r}?)"


def check_names(given: Iterable[Any], known: Sequence[str], where: str) -> None:
    """Check the names in a dict that stands for a record.

    Args:
        given: the names.
        known: those there are.
        where: what to call the dict in a message.

    Raises:
        InvalidInputError: one is not known; the message has the nearest one and all there are.
    """
    for name in given:
        if name not in known:
            meant = nearest(str(name), known)
            hint = "it" if meant is None else f"did you mean {meant!r}? It"
            raise InvalidInputError(f"{where} has no {shown(name)}; {hint} has {', '.join(known)}.")


def spelled(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that users call by keywords.

    Args:
        name: what to call it in messages.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except TypeError as error:
                if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                    raise  # from inside: the arguments were fine
                known = [each for each in inspect.signature(function).parameters if each != "self"]
                raise _explained(error, name, known) from None
            finally:
                del args, kwargs  # see above

        return checked

    return decorate


def _explained(error: TypeError, name: str, known: Iterable[str]) -> TypeError:
    """Return the error for a name that is not known, or the error itself where it is about something else."""
    found = _UNEXPECTED.search(str(error))
    if found is None:
        return error
    known = list(known)
    meant = nearest(found[1], known)
    hint = f"there is {', '.join(known)}" if meant is None else f"did you mean {meant!r}?"
    return TypeError(f"{name} has no argument {found[1]!r}; {hint}")
