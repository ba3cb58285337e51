"""Streams: a sample's tokens as server-sent events, each as soon as it is drawn (wire protocol 2.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tinker_actors.local.core.futures import Future
from tinker_actors.local.core.ports import Completion
from tinker_actors.protocol.codec import wire_json

_REPLACEMENT = "\ufffd"
_LONGEST_WINDOW = 64
_KEPT_OF_WINDOW = 12
"""A multiple of 2, 3 and 4, so that a run of characters of one size, spelled in bytes, is cut between two of them."""

Text = Callable[[Sequence[int]], str | None]
"""Tokens to text; None where there is no tokenizer."""


class TextPieces:
    """Text that grows by tokens, given out in whole characters.

    A token may end inside a character. The text then ends with U+FFFD: one for all of the character's bytes, or one
    for each byte of the run of bytes that it is in, as tokenizers with a byte fallback have it. They are held back
    until a later token shows what they become. Only the last tokens are decoded again each time, once their text by
    themselves is the end of the whole text.

    Args:
        text: turns tokens to text.
    """

    def __init__(self, text: Text) -> None:
        self._text = text
        self._window: list[int] = []
        self._shown = 0

    def add(self, token: int) -> str:
        """Add a token, and return the characters that are complete now and were not before."""
        self._window.append(token)
        whole = self._text(self._window) or ""
        complete = whole.rstrip(_REPLACEMENT)
        piece = complete[self._shown :]
        self._shown = max(self._shown, len(complete))
        if len(self._window) > _LONGEST_WINDOW and complete == whole:
            kept = self._window[-_KEPT_OF_WINDOW:]
            end = self._text(kept) or ""
            if whole.endswith(end):
                self._window, self._shown = kept, len(end)
        return piece

    def rest(self) -> str:
        """Return what was held back, now that no token follows."""
        return (self._text(self._window) or "")[self._shown :]


class Stream(msgspec.Struct, frozen=True, eq=False):
    """The answer to a request is a stream of events; see `ServiceCore.take_events`.

    Attributes:
        future: the sample.
        tokens: where its tokens arrive.
    """

    future: Future
    tokens: TokenStream

    @property
    def request_id(self) -> str:
        """The name that `take_decided` returns when there are events."""
        return self.future.request_id


class TokenStream:
    """One completion on its way to its reader. For the core's thread; `count` may be read on another one.

    Attributes:
        count: tokens that have been added.

    Args:
        text: turns tokens to text.
    """

    def __init__(self, text: Text) -> None:
        self.count = 0
        self._pieces = TextPieces(text)
        self._events: list[bytes] = []

    def add(self, tokens: Sequence[int], logprobs: Sequence[float]) -> None:
        """Add tokens that were drawn, with their log-probabilities."""
        for token, logprob in zip(tokens, logprobs, strict=True):
            said = {"token": self._pieces.add(token), "token_id": token, "index": self.count, "logprob": logprob}
            self._events.append(event(said))
            self.count += 1

    def finish(self, completion: Completion) -> None:
        """Add what is missing of a completion, and that it is over."""
        self.add(completion.tokens[self.count :], completion.logprobs[self.count :])
        said = {"token": self._pieces.rest(), "finish_reason": completion.stop_reason, "total_tokens": self.count}
        self._events.append(event(said))

    def fail(self, message: str) -> None:
        """Add that nothing more will come, and why."""
        self._events.append(event({"error": message}))

    def take(self) -> bytes:
        """Return the events since the last call."""
        taken = b"".join(self._events)
        self._events.clear()
        return taken


def event(said: dict[str, object]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + wire_json.encode(said) + b"\n\n"
