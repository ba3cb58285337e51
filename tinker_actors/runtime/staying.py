"""Staying: what belongs to its process, and says so where somebody would send it to another one."""

from __future__ import annotations

from typing import ClassVar, NoReturn


class Staying:
    """Base of what can't be pickled: it has threads or connections of its process, or waits for what comes here."""

    __slots__ = ()

    _elsewhere: ClassVar[str]
    """What to do instead, as a sentence."""

    def __reduce__(self) -> NoReturn:
        """Refuse, with what to do instead.

        Raises:
            TypeError: always; that is what pickling and copying know.
        """
        raise TypeError(
            f"A {type(self).__name__} can't be pickled or copied: it stays in its process. {self._elsewhere}"
        )
