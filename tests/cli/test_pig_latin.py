from __future__ import annotations

import pytest

from tinker_actors.cli.pig_latin import (
    accuracy,
    batches,
    completion_text,
    datum,
    decode,
    encode,
    prompt_text,
    read_words,
    split,
    to_pig_latin,
)


@pytest.mark.parametrize(
    ("word", "latin"),
    [
        ("word", "ordway"),
        ("apple", "appleway"),
        ("string", "ingstray"),
        ("queen", "eenquay"),
        ("square", "aresquay"),
        ("yellow", "ellowyay"),
        ("my", "ymay"),
        ("rhythm", "ythmrhay"),
        ("tsk", "tskay"),
        ("a", "away"),
    ],
)
def test_the_beginning_moves_to_the_end(word: str, latin: str):
    assert to_pig_latin(word) == latin


def test_the_shipped_words_are_hundreds_of_different_lower_case_words():
    words = read_words()
    assert len(words) > 500
    assert words == sorted(set(words))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_a_datum_predicts_the_next_byte_and_counts_the_completion_only():
    one = datum("word")
    targets, weights = (one.loss_fn_inputs[name].to_numpy() for name in ("target_tokens", "weights"))
    whole = "word => ordway\n"
    assert decode(one.model_input.to_ints()) == whole[:-1]
    assert decode(targets.tolist()) == whole[1:]
    assert decode(targets[weights == 1].tolist()) == completion_text("word") == " ordway\n"
    assert decode(targets[weights == 0].tolist()) == prompt_text("word")[1:]


def test_text_comes_back_from_its_tokens_and_special_tokens_are_shown_as_no_text():
    assert decode(encode("naïve\n")) == "naïve\n"
    assert decode([111, 257, 107]) == "o\N{REPLACEMENT CHARACTER}k"


def test_held_out_words_are_others_and_the_seed_chooses_them():
    words = read_words()
    trained, held_out = split(words, 400, 100, seed=1)
    assert (len(set(trained)), len(set(held_out)), set(trained) & set(held_out)) == (400, 100, set())
    assert split(words, 400, 100, seed=1) == (trained, held_out)
    assert split(words, 400, 100, seed=2) != (trained, held_out)


def test_too_few_words_to_split_are_refused():
    with pytest.raises(ValueError, match=r"3 words, not 3 \+ 1"):
        split(["a", "b", "c"], 3, 1, seed=0)


def test_batches_show_every_word_before_any_comes_again():
    shown = [word for batch in batches("abcde", 4, 5, seed=0) for word in batch]
    assert [set(shown[i : i + 5]) for i in range(0, 20, 5)] == [set("abcde")] * 4
    assert [len(batch) for batch in batches("abcde", 3, 7, seed=0)] == [7, 7, 7]


def test_accuracy_is_the_share_of_exact_matches():
    assert accuracy(["word", "my", "ice", "sky"], [" ordway\n", " ymay", " iceway\n", " yska\n"]) == 0.5
