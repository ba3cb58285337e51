"""The built-in base model and its tokenizer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tinker_actors.local.engine.adamw import AdamParams
from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.lora import LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.sampler import sample
from tinker_actors.local.engine.sampling import SampleRequest
from tinker_actors.local.engine.tiny import SPECIAL_TOKENS, TINY_CONFIG, tiny_base, tiny_tokenizer_json

TOKENIZER = Tokenizer.from_str(tiny_tokenizer_json())


@given(st.text())
@example("<|eos|> is text here")
@example("  leading,  double, trailing  \r\n\t\x00")
@example("naïve 終わり 🏴‍☠️ \u0301")
def test_any_text_is_its_utf8_bytes_and_comes_back(text):
    ids = TOKENIZER.encode(text).ids
    assert ids == list(text.encode())
    assert TOKENIZER.decode(ids) == text


def test_special_tokens_have_the_ids_behind_the_bytes():
    assert [TOKENIZER.token_to_id(name) for name in SPECIAL_TOKENS] == [256, 257, 258, 259]
    assert TOKENIZER.get_vocab_size() == TINY_CONFIG.vocab_size
    assert TOKENIZER.decode([104, 105, SPECIAL_TOKENS["<|eos|>"]]) == "hi<|eos|>"


def test_the_tokenizer_is_plain_json():
    assert json.loads(tiny_tokenizer_json())["model"]["vocab"]["a"] == 97


def test_the_base_model_is_the_same_every_time():
    first, second = tiny_base(), tiny_base()
    for name, array in first.weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, second.weights[name])


@pytest.mark.slow
def test_it_learns_to_spell_a_few_words():
    pairs = ["hello => ellohay\n", "pig => igpay\n", "latin => atinlay\n", "apple => appleway\n"]
    data = []
    for pair in pairs:
        ids = np.frombuffer(pair.encode(), np.uint8)
        start = pair.index(">") + 1
        data.append(Datum(ids[:-1], ids[1:], {"weights": (np.arange(len(ids) - 1) >= start).astype(np.float32)}))
    model = LoraModel(tiny_base(), LoraSpec(rank=32, seed=0))
    losses = []
    for step in range(40):
        losses.append(model.forward_backward(data, "cross_entropy").metrics["loss:sum"])
        model.optim_step(AdamParams(learning_rate=1e-2 * (1 - step / 40)))
    assert losses[-1] < losses[0] / 20
    prompts = [np.frombuffer(pair[: pair.index(">") + 2].encode(), np.uint8) for pair in pairs]
    requests = [SampleRequest(prompt=prompt, max_tokens=12, temperature=0.0, stop=("\n",)) for prompt in prompts]
    results = sample(model.base, model.snapshot(), requests, detokenise=TOKENIZER.decode)
    spelled = [
        pair[: pair.index(">") + 2] + TOKENIZER.decode(r.sequences[0].tokens)
        for pair, r in zip(pairs, results, strict=True)
    ]
    assert spelled == pairs


@pytest.mark.parametrize("prompt", ["", "x"])
def test_an_untrained_model_is_unsure(prompt):
    ids = np.array([256, *prompt.encode()])
    (result,) = sample(tiny_base(), None, [SampleRequest(prompt=ids, max_tokens=4, seed=1, stop=())])
    assert len(result.sequences[0].tokens) == 4
    assert result.sequences[0].logprobs.mean() < -2
