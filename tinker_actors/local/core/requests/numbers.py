"""Numbers: what was answered under each of a client's own numbers.

Clients resend the identical body after a lost reply (wire protocol 6.1). The number tells that it is the same request,
the body's digest that it really is.
"""

from __future__ import annotations

import hashlib

import msgspec

from tinker_actors.local.core.requests.messages import NO_RETRY, Answer, CoreRequest, RefusedError

LARGEST = 2**63 - 1
"""The largest number that a client may use: what the store can keep, and other servers and languages can hold."""


def require_number(what: str, number: int | None, least: int = 0) -> None:
    """Check a number that a client gives to what it makes or asks for; None is none.

    Args:
        what: its name on the wire.
        number: the number.
        least: where they start.

    Raises:
        RefusedError: 422, it can't be one.
    """
    if number is not None and number < least:
        raise RefusedError(422, f"{what} starts at {least}, got {number}.")
    if number is not None and number > LARGEST:
        raise RefusedError(422, f"{what} is at most {LARGEST}.")


class Used(msgspec.Struct, frozen=True):
    """A number that has been used.

    Attributes:
        digest: of path and body.
        answer: what was answered, and will be again.
        refused: whether that was a refusal, so that nothing has been done under the number.
    """

    digest: bytes
    answer: Answer
    refused: bool = False


def digest_of(request: CoreRequest) -> bytes:
    """Return what identifies a request's content: where it goes and what it says."""
    return request.digest or digest_of_content(request.path, request.body)


def digest_of_content(path: str, body: bytes) -> bytes:
    """Return what identifies a content. For any thread."""
    found = hashlib.blake2b(path.encode(), digest_size=16)
    found.update(b"\0")
    found.update(body)
    return found.digest()


class Numbers:
    """The numbers used in one scope: a session's models, a session's samplers, a model's operations, ...

    Args:
        what: how to call a number in errors, e.g. `"seq_id"`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._used: dict[int, Used] = {}
        self._retired: set[int] = set()
        self._all_below = 0  # every number below it is retired
        self._given_up: list[tuple[range, Used]] = []  # one number far ahead leaves more than fit in any memory

    def __contains__(self, number: int) -> bool:
        return self._find(number) is not None

    def __len__(self) -> int:
        return len(self._used)

    def replay(self, number: int | None, request: CoreRequest) -> Answer | None:
        """Return what was answered to this very request, or None if its number is new or only ever refused.

        Raises:
            RefusedError: 409, the number was used for something else; 410, it is retired.
        """
        used = self._find(number)
        if used is None:
            if number is not None and self.is_retired(number):
                raise RefusedError(410, f"What was made under {self._what} {number} is gone.", NO_RETRY)
            return None
        if used.digest == digest_of(request):
            return used.answer
        if used.refused:
            return None
        raise self.conflict(number)

    def digest(self, number: int) -> bytes:
        """Return the digest of the request that used a number."""
        return self._used[number].digest

    def conflict(self, number: int | None) -> RefusedError:
        """Return the refusal for a number that was used for something else."""
        return RefusedError(
            409, f"{self._what} {number} has been used for a different request; numbers are used once.", NO_RETRY
        )

    def was_refused(self, number: int | None) -> bool:
        """Return whether the number was used for a request that was refused."""
        used = self._find(number)
        return used is not None and used.refused

    def record(self, number: int | None, request: CoreRequest, answer: Answer, *, refused: bool = False) -> Answer:
        """Remember an answer under a number (if there is one), and return it."""
        if number is not None:
            self._used[number] = Used(digest_of(request), answer, refused)
        return answer

    def give_up(self, numbers: range, answer: Answer) -> None:
        """Let numbers that never came count as refused; should one come after all, `answer` is its answer."""
        self._given_up.append((numbers, Used(b"", answer, refused=True)))

    def forget(self, number: int) -> None:
        """Drop a number; it counts as never used."""
        self._used.pop(number, None)

    def retire(self, number: int) -> None:
        """Forget what was answered under a number, because what it made is gone. It can't be used again."""
        self._used.pop(number, None)
        self._retired.add(number)
        while self._all_below in self._retired:  # as clients count, so that this takes no memory
            self._retired.remove(self._all_below)
            self._all_below += 1

    def is_retired(self, number: int) -> bool:
        """Return whether a number has been retired."""
        return 0 <= number < self._all_below or number in self._retired

    def _find(self, number: int | None) -> Used | None:
        if number is None:
            return None
        used = self._used.get(number)
        if used is not None or not self._given_up:
            return used
        return next((given_up for numbers, given_up in self._given_up if number in numbers), None)
