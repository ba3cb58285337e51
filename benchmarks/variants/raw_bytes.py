"""Raw bytes: raw sockets whose requests are built beforehand and whose results are not looked into.

What the wire itself costs a Python program. Only a request's number is put in; only the warm-up decodes results, after
which a result of the right size counts as right.
"""

from __future__ import annotations

from benchmarks.variants import raw_sockets
from benchmarks.variants.base import Job
from benchmarks.variants.raw_sockets import message

_NUMBER_WIDTH = 9
_PLACE = 10**_NUMBER_WIDTH - 1


class Client(raw_sockets.Client):
    """Raw sockets, prebuilt bytes."""

    agent = "raw-bytes"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        seq_ids, self.seq_ids = self.seq_ids, iter([_PLACE] * len(job.prompts))
        built = [raw_sockets.Client.submission(self, number) for number in range(len(job.prompts))]
        self.seq_ids = seq_ids
        self._parts = [request.split(str(_PLACE).encode()) for request in built]
        self._sizes: dict[int, int] = {}

    def submission(self, number: int) -> bytes:
        """Return a whole request; JSON has no leading zeros, so that numbers are padded with blanks."""
        before, after = self._parts[number % len(self._parts)]
        return b"%s%*d%s" % (before, _NUMBER_WIDTH, next(self.seq_ids), after)

    def retrieval(self, promise: bytes) -> bytes:
        """Return a whole request; the stub's promise begins with the id."""
        return message(self.retrieve_head, b'{"request_id":"%s"}' % promise[15 : promise.find(b'"', 15)])

    def judge(self, number: int, body: bytes, *, strict: bool) -> bool:
        """Return whether the result has the size that a decoded one had."""
        kind = number % len(self._parts)
        if strict:
            self._sizes[kind] = len(body)
            return super().judge(number, body, strict=True)
        return self._sizes.setdefault(kind, len(body)) == len(body)
