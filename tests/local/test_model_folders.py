"""Model folders: what can be served is served as it is, what can't is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinker_actors as ta
from tinker_actors.errors import ConfigError
from tinker_actors.local.core.ports import SampleTask
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.data import Datum as EngineDatum
from tinker_actors.local.engine.lora import LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.tiny import EOS, TINY_CONFIG, TINY_NAME, tiny_base, tiny_tokenizer_json
from tinker_actors.local.model_folders import load_model_folders
from tinker_actors.local.numpy_engine import NumpyEngine
from tinker_actors.local.process import LocalServer
from tinker_actors.local.store.tensor_files import packed

from .tiny_folder import CONFIG

HANG = 60.0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    weights = dict(tiny_base().weights)
    first = {name: weights.pop(name) for name in sorted(weights)[:3]}
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(packed(first))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(packed(weights))
    return tmp_path


def drawn(engine, name, task):
    decoding = engine.decoding(engine.weights(name, None, None))
    assert decoding.admit([(0, task)]) == []
    *nothing, finished = [decoding.step() for _ in range(task.max_tokens)]
    assert nothing == [[]] * len(nothing)
    return finished[0][1]


def test_a_folder_with_the_built_in_models_weights_is_that_model(folder):
    engine = NumpyEngine(load_model_folders({"own/copy": folder}))
    assert sorted(engine.base_models) == [TINY_NAME, "own/copy"]
    assert engine.base_models["own/copy"].context_length == TINY_CONFIG.context_length
    task = SampleTask(
        prompt=np.array([1, 2, 3]), num_samples=1, max_tokens=8, temperature=0.0, top_k=None, top_p=1.0, seed=0,
        stop=None, prompt_logprobs=True, topk_prompt_logprobs=0,
    )  # fmt: skip
    outputs = [drawn(engine, name, task) for name in ("own/copy", TINY_NAME)]
    assert outputs[0].completions[0].tokens == outputs[1].completions[0].tokens
    assert outputs[0].prompt_logprobs == outputs[1].prompt_logprobs


def test_a_stop_string_without_a_tokenizer_is_refused(folder):
    engine = NumpyEngine(load_model_folders({"own/copy": folder}))
    task = SampleTask(
        prompt=np.array([1]), num_samples=1, max_tokens=1, temperature=0.0, top_k=None, top_p=1.0, seed=0,
        stop=("a",), prompt_logprobs=False, topk_prompt_logprobs=0,
    )  # fmt: skip
    ((_, outcome),) = engine.decoding(engine.weights("own/copy", None, None)).admit([(0, task)])
    assert "token ids" in str(outcome)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "'gpt2' is not supported"),
        ({"vocab_size": None}, "lacks vocab_size"),
        ({"rms_norm_eps": None}, "NoneType"),
        ({"num_attention_heads": 0, "head_dim": None}, "zero"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rotary embeddings of type 'llama3'"),
        ({"num_hidden_layers": 3}, "weights lack"),
        ({"vocab_size": 300}, "shape"),
    ],
)
def test_what_can_not_be_served_is_refused_with_the_reason(folder, change, words):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(ConfigError, match=words) as caught:
        load_model_folders({"mine": folder})
    assert "'mine'" in str(caught.value)


def test_missing_and_broken_files_are_named(folder, tmp_path):
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ConfigError, match="00002"):
        load_model_folders({"mine": folder})
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model_folders({"mine": tmp_path / "nowhere"})
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConfigError, match="lack"):
        load_model_folders({"mine": folder})


def test_a_tokenizer_that_can_not_be_read_is_named(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"'mine'.*tokenizer\.json can't be read"):
        load_model_folders({"mine": folder})


def test_the_architecture_is_told_and_adapters_bear_the_name(folder):
    served = load_model_folders({"own/copy": folder})["own/copy"]
    assert (served.arch, served.base.name) == ("llama", "own/copy")


def test_text_is_that_of_the_folders_tokenizer(folder):
    (folder / "tokenizer.json").write_text(tiny_tokenizer_json())
    engine = NumpyEngine(load_model_folders({"own/copy": folder}))
    tokens = [*"grün".encode()[:3], EOS]
    assert engine.text("own/copy", tokens) == engine.text(TINY_NAME, tokens) == "gr\ufffd<|eos|>"


def bfloat16(weights):
    """A safetensors file's content, and the float32 arrays that its numbers are."""
    header, content, rounded = {}, b"", {}
    for name, array in weights.items():
        halves = (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype("<u2")
        rounded[name] = (halves.astype(np.uint32) << 16).view(np.float32)
        offsets = [len(content), len(content) + halves.nbytes]
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": offsets}
        content += halves.tobytes()
    table = json.dumps(header).encode()
    return len(table).to_bytes(8, "little") + table + content, rounded


def test_a_bfloat16_folder_trains_samples_and_stops_at_a_string(tmp_path):
    content, rounded = bfloat16(tiny_base().weights)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "tokenizer.json").write_text(tiny_tokenizer_json())
    ids = np.frombuffer(b"abcdefgh", np.uint8).astype(np.int64)
    expected = LoraModel(BaseModel(TINY_CONFIG, rounded), LoraSpec(rank=4, seed=0)).forward(
        [EngineDatum(ids[:-1], ids[1:])], "cross_entropy"
    )
    with LocalServer(models={"own/half": tmp_path}) as server, ta.ServiceClient(base_url=server.url) as service:
        trainer = service.create_lora_training_client("own/half", rank=4, seed=0)
        datum = ta.Datum(ta.ModelInput.from_ints(ids[:-1].tolist()), {"target_tokens": ids[1:].tolist()})
        losses = []
        for _ in range(15):
            passed = trainer.forward_backward([datum], "cross_entropy")
            trainer.optim_step(ta.AdamParams(learning_rate=0.005)).result(HANG)
            losses.append(passed.result(HANG))
        first = losses[0].loss_fn_outputs[0]["logprobs"].to_numpy()
        np.testing.assert_allclose(first, expected.logprobs[0], rtol=1e-5)
        assert losses[1].metrics["loss:sum"] < losses[0].metrics["loss:sum"]
        sampler = trainer.save_weights_and_get_sampling_client()
        params = ta.SamplingParams(max_tokens=6, temperature=0, stop=["de"])
        (sequence,) = sampler.sample(ta.ModelInput.from_ints(list(b"ab")), 1, params).result(HANG).sequences
    assert (bytes(sequence.tokens), sequence.stop_reason) == (b"cde", "stop")
