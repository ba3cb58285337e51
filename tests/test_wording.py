"""How messages are put together."""

from __future__ import annotations

import ast
import itertools
import pathlib
import re

import pytest

import tinker_actors as ta
from tinker_actors.errors import APIStatusError, RequestFailedError, TinkerError
from tinker_actors.wording import nearest, sentence


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("no end", "no end."),
        ("an end.", "an end."),
        ("what now?", "what now?"),
        ("it said:\n", "it said:"),
        ("blanks  ", "blanks."),
        ("", ""),
    ],
)
def test_a_text_becomes_a_sentence_that_another_may_follow(text, becomes):
    assert sentence(text) == becomes
    assert sentence(becomes) == becomes


@pytest.mark.parametrize("text", ["token 300 is outside the vocabulary of 260", "It is outside the vocabulary."])
@pytest.mark.parametrize(
    "facts", [{}, {"request_id": "r1"}, {"advice": "Look."}, {"status_code": 500, "advice": "Go."}]
)
def test_an_error_is_made_of_sentences_whoever_wrote_its_message(text, facts):
    said = str(RequestFailedError(text, **facts))
    assert said.endswith(facts.get("advice") or (")." if facts else text))
    assert ".." not in said
    assert not re.search(r"[^.] (Look|Go)", said)


def test_what_an_error_says_of_another_ends_once():
    inner = APIStatusError("inner", status_code=500)
    assert str(TinkerError(f"It failed: {inner}", advice="Look.")) == "It failed: inner (status 500). Look."


def test_the_nearest_name_is_found_however_it_is_written():
    known = ("base_url", "api_key", "max_tokens", "learning_rate")
    assert nearest("baseUrl", known) == "base_url"
    assert nearest("max_token", known) == "max_tokens"
    assert nearest("learningrate", known) == "learning_rate"
    assert nearest("zzz", known) is None


WORDS_OF_OTHERS = re.compile(r"\b(error|message|reason|refusal|cause|failure|taint|why)\b")


def joined_bare(source):
    """Return where an f-string has another sentence behind words of somebody else that may have no end."""
    for node in ast.walk(ast.parse(source)):
        values = node.values if isinstance(node, ast.JoinedStr) else []
        for words, rest in itertools.pairwise(values):
            if not isinstance(words, ast.FormattedValue) or not isinstance(rest, ast.Constant):
                continue
            text = ast.unparse(words.value)
            if WORDS_OF_OTHERS.search(text) and not text.startswith("sentence(") and re.match(r" [A-Z]", rest.value):
                yield f"{text}{rest.value[:20]}"


def test_words_of_others_are_made_a_sentence_before_another_one_follows():
    assert list(joined_bare('f"It failed: {error.message} The step was not applied."'))
    assert not list(joined_bare('f"It failed: {sentence(error.message)} The step was not applied."'))
    package = pathlib.Path(ta.__file__).parent
    found = {str(path): list(joined_bare(path.read_text())) for path in package.rglob("*.py")}
    assert not {path: places for path, places in found.items() if places}
