"""Records: official argument order, defaults, and the one rule of LoraConfig."""

from __future__ import annotations

import msgspec
import pytest

from tinker_actors import types
from tinker_actors.errors import InvalidInputError
from tinker_actors.types import wire


def test_the_official_defaults():
    adam = types.AdamParams()
    assert msgspec.structs.asdict(adam) == {
        "learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.95, "eps": 1e-12, "weight_decay": 0.0, "grad_clip_norm": 0.0,
    }  # fmt: skip
    assert msgspec.structs.asdict(types.SamplingParams()) == {
        "max_tokens": None, "seed": None, "stop": None, "temperature": 1.0, "top_k": -1, "top_p": 1.0,
    }  # fmt: skip
    assert msgspec.structs.asdict(types.LoraConfig()) == {
        "rank": 32, "seed": None, "train_unembed": True, "train_mlp": True, "train_attn": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "config", [{"rank": 0}, {"rank": -1}, {"train_unembed": False, "train_mlp": False, "train_attn": False}]
)
def test_an_adapter_that_adapts_nothing_is_refused(config):
    with pytest.raises(InvalidInputError):
        types.LoraConfig(**config)


def test_every_public_name_exists():
    assert sorted(types.__all__) == list(types.__all__)
    assert all(hasattr(types, name) for name in types.__all__)


@pytest.mark.parametrize(
    ("struct", "content", "field", "expected"),
    [
        # What SDK 0.15 puts on the wire: explicit fields, nulls, no type.
        (wire.CreateSessionRequest, b'{"tags":["a"],"user_metadata":{},"sdk_version":"0.15.0","project_id":null}',
         "sdk_version", "0.15.0"),
        (wire.CreateModelRequest, (b'{"session_id":"s","model_seq_id":0,"base_model":"Q/q","user_metadata":null,'
         b'"lora_config":{"rank":8,"seed":1,"train_unembed":true,"train_mlp":true,"train_attn":true}}'),
         "base_model", "Q/q"),
        (wire.OptimStepRequest, b'{"adam_params":{"learning_rate":0.001},"model_id":"m","seq_id":2}', "seq_id", 2),
        (wire.SaveWeightsRequest, b'{"model_id":"m","path":"c1","seq_id":4,"ttl_seconds":null}', "overwrite", False),
        (wire.LoadWeightsRequest, b'{"model_id":"m","path":"t://","optimizer":false,"seq_id":5}', "optimizer", False),
        (wire.SaveWeightsForSamplerRequest, b'{"model_id":"m","sampling_session_seq_id":0,"seq_id":7}',
         "kind", "snapshot"),
        (wire.CreateSamplingSessionRequest, (b'{"session_id":"s","sampling_session_seq_id":1,"base_model":"Q/q",'
         b'"model_path":null}'), "model_path", None),
        (wire.SampleRequest, (b'{"num_samples":1,"prompt":{"chunks":[{"tokens":[1,2]}]},"sampling_params":{},'
         b'"sampling_session_id":"s","seq_id":0,"prompt_logprobs":true,"topk_prompt_logprobs":2}'), "seq_id", 0),
        # What 0.38 sends.
        (wire.SaveWeightsRequest, b'{"model_id":"m","path":"c1","seq_id":4,"overwrite":false,"type":"save_weights"}',
         "path", "c1"),
        (wire.LoadWeightsRequest, (b'{"session_id":"s","model_seq_id":1,"path":"tinker://","optimizer":false,'
         b'"type":"load_weights"}'), "model_id", None),
        (wire.FinishSessionRequest, b'{"reason":{"type":"success"},"detail":null}', "detail", None),
    ],
)  # fmt: skip
def test_bodies_of_both_generations_are_read(struct, content, field, expected):
    assert getattr(msgspec.json.decode(content, type=struct), field) == expected


def test_a_body_of_another_kind_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"type":"optim_step","model_id":"m","path":"c"}', type=wire.SaveWeightsRequest)
