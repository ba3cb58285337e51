"""When a completion is over: stop tokens, stop strings, or no rule at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinker_actors.local.engine.config import ModelConfig

Detokenise = Callable[[Sequence[int]], str]
"""Token ids -> text."""

SLACK_TOKENS = 8
"""Tokens decoded in front of the longest that a stop string can take: the start of a text decodes differently in some
tokenizers (a leading space is dropped, a split character comes out as a replacement)."""

_BYTES_PER_CHARACTER = 4  # at most, in UTF-8
_REPLACEMENT = "\ufffd"


class StopRule:
    """Decides after each token whether a completion is over. Immutable.

    Args:
        stop: As in `SampleRequest`: None means the model's end-of-sequence tokens, () means never.
        config: The model, for those tokens.
        detokenise: Turns tokens to text; needed for strings.

    Raises:
        ValueError: There is a string, but no `detokenise`.
    """

    def __init__(
        self,
        stop: tuple[str | tuple[int, ...], ...] | None,
        config: ModelConfig,
        detokenise: Detokenise | None,
    ) -> None:
        rules = tuple((token,) for token in config.eos_token_ids) if stop is None else stop
        self._sequences = [list(rule) for rule in rules if not isinstance(rule, str)]
        self._strings = [rule for rule in rules if isinstance(rule, str)]
        self._detokenise = detokenise
        if self._strings and detokenise is None:
            raise ValueError("stop strings need a tokenizer, and there is none")
        # A token has at least one byte, so a match that ends in the last token starts at most this far back.
        self._window = max((len(text.encode()) for text in self._strings), default=0) + SLACK_TOKENS

    def ends(self, tokens: list[int]) -> bool:
        """Whether a completion, not over before its last token, is over with it."""
        if any(tokens[-len(sequence) :] == sequence for sequence in self._sequences):
            return True
        if not self._strings or self._detokenise is None:
            return False
        begin = max(0, len(tokens) - self._window)
        # Where a token is a byte, the window may begin inside a character, and some decoders then lose the characters
        # behind it too. One of a few beginnings further on is the beginning of a character.
        for first in range(begin, begin + _BYTES_PER_CHARACTER):
            text = self._detokenise(tokens[first:])
            if any(string in text for string in self._strings):
                return True
            if not text.startswith(_REPLACEMENT):
                return False
        return False
