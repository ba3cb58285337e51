"""Stop rules."""

from __future__ import annotations

import pytest

from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.stopping import SLACK_TOKENS, StopRule
from tinker_actors.local.engine.tiny import EOS, TINY_CONFIG


def text(tokens):
    return bytes(token for token in tokens if token < 256).decode(errors="replace")


def first_end(rule, tokens):
    """After how many tokens a completion is over; None if never."""
    return next((n for n in range(1, len(tokens) + 1) if rule.ends(list(tokens[:n]))), None)


def test_no_rule_means_the_end_of_sequence():
    assert first_end(StopRule(None, TINY_CONFIG, None), [1, 2, EOS, 3]) == 3


def test_an_empty_rule_means_never():
    assert first_end(StopRule((), TINY_CONFIG, None), [1, EOS, EOS]) is None


def test_rules_of_ones_own_replace_the_end_of_sequence():
    assert first_end(StopRule(((5,),), TINY_CONFIG, None), [1, EOS, 5]) == 3


def test_a_sequence_of_tokens_must_come_whole_and_in_order():
    rule = StopRule(((7, 8), (9,)), TINY_CONFIG, None)
    assert first_end(rule, [8, 7, 7, 8]) == 4
    assert first_end(rule, [7, 1, 8]) is None
    assert first_end(rule, [7, 9, 8]) == 2


def test_a_string_may_span_tokens_and_end_anywhere_in_one():
    rule = StopRule(("\n\n", "END"), TINY_CONFIG, text)
    assert first_end(rule, b"one\ntwo\n\nthree") == 9
    assert first_end(rule, b"EN ENDS") == 6
    words = {0: "the E", 1: "ND of it"}
    assert StopRule(("END",), TINY_CONFIG, lambda tokens: "".join(words[t] for t in tokens)).ends([0, 1])


def test_a_string_of_wide_characters_is_found_behind_a_long_text():
    rule = StopRule(("終わり",), TINY_CONFIG, text)
    tokens = ("x" * 3 * SLACK_TOKENS + "終わり").encode()
    assert first_end(rule, tokens) == len(tokens)


def test_a_string_is_found_where_the_window_begins_inside_a_character():
    def byte_fallback(tokens):
        """Decode as tokenizers with byte fallback do: a run of bytes that is not UTF-8 is lost byte by byte."""
        try:
            return bytes(tokens).decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(tokens)

    rule = StopRule(("界",), TINY_CONFIG, byte_fallback)
    for count in range(1, 12):
        tokens = ("世" * count + "界").encode()
        assert first_end(rule, tokens) == len(tokens), count


def test_a_string_needs_a_tokenizer():
    with pytest.raises(ValueError, match="tokenizer"):
        StopRule(("x",), TINY_CONFIG, None)


def test_a_model_without_end_of_sequence_never_stops_by_itself():
    config = ModelConfig(
        vocab_size=4,
        hidden_size=4,
        n_layers=1,
        n_heads=1,
        n_kv_heads=1,
        head_dim=4,
        intermediate_size=4,
        context_length=8,
    )
    assert first_end(StopRule(None, config, None), [0, 1, 2, 3]) is None
