"""Adapters: initialisation, names, immutability."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.lora import Adapter, LoraSpec
from tinker_actors.local.engine.model import LoraModel

PREFIX = "base_model.model.model.layers.1."


def arrays(base, **spec):
    return LoraModel(base, LoraSpec(**spec)).state().adapter


def test_names_and_shapes_are_those_of_peft(make_base):
    found = {name: array.shape for name, array in arrays(make_base(), rank=3).items() if ".layers.0." not in name}
    sizes = {
        "self_attn.q_proj": (12, 16),
        "self_attn.k_proj": (12, 8),
        "self_attn.v_proj": (12, 8),
        "self_attn.o_proj": (16, 12),
        "mlp.gate_proj": (12, 10),
        "mlp.up_proj": (12, 10),
        "mlp.down_proj": (10, 12),
    }
    expected = {}
    for module, (fan_in, fan_out) in sizes.items():
        expected[f"{PREFIX}{module}.lora_A.weight"] = (3, fan_in)
        expected[f"{PREFIX}{module}.lora_B.weight"] = (fan_out, 3)
    expected["base_model.model.lm_head.lora_A.weight"] = (3, 12)
    expected["base_model.model.lm_head.lora_B.weight"] = (17, 3)
    assert found == expected


def test_a_starts_uniform_within_its_bound_and_b_at_zero(make_base):
    for name, array in arrays(make_base(), rank=64).items():
        if "lora_B" in name:
            assert not array.any()
        else:
            bound = 1 / np.sqrt(array.shape[1])
            assert 0.95 * bound < np.abs(array).max() <= bound
            assert abs(array.mean()) < 0.1 * bound


def test_an_untrained_adapter_leaves_the_base_model_as_it_is(make_base, make_data):
    base = make_base()
    specs = (LoraSpec(rank=1, seed=1), LoraSpec(rank=8, seed=2, train_attn=False))
    outputs = [LoraModel(base, spec).forward(make_data(), "cross_entropy") for spec in specs]
    np.testing.assert_array_equal(*(np.concatenate(output.logprobs) for output in outputs))


def test_the_same_seed_gives_the_same_bits_whatever_else_is_trained(make_base):
    base = make_base(np.float32)
    everything = arrays(base, rank=4, seed=7)
    for switch in ("train_attn", "train_mlp", "train_unembed"):
        some = arrays(base, rank=4, seed=7, **{switch: False})
        assert some.keys() < everything.keys()
        for name, array in some.items():
            np.testing.assert_array_equal(array, everything[name])
    assert any((array != everything[name]).any() for name, array in arrays(base, rank=4, seed=8).items())


def test_modules_of_the_same_shape_start_differently(make_base):
    found = arrays(make_base(), rank=4)
    gate, up = (found[f"{PREFIX}mlp.{name}_proj.lora_A.weight"] for name in ("gate", "up"))
    assert (gate != up).all()


def test_a_snapshot_does_not_follow_training_and_cannot_be_written(make_model, make_data):
    model = make_model()
    snapshot = model.snapshot()
    before = {name: array.copy() for name, array in snapshot.arrays().items()}
    model.forward_backward(make_data(), "cross_entropy")
    model.load_state({name: array + 1 for name, array in before.items()})
    for name, array in snapshot.arrays().items():
        np.testing.assert_array_equal(array, before[name])
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_an_adapter_can_be_built_from_its_arrays(make_base, make_model):
    snapshot = make_model().snapshot()
    again = Adapter.from_arrays(make_base().config, LoraSpec(rank=4), snapshot.arrays())
    for name, array in snapshot.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    with pytest.raises(ValueError, match=r"lm_head\.lora_A\.weight has shape \(4, 12\), the model needs \(2, 12\)"):
        Adapter.from_arrays(
            make_base().config,
            LoraSpec(rank=2, train_attn=False, train_mlp=False),
            {name: array for name, array in snapshot.arrays().items() if "lm_head" in name},
        )


def test_a_spec_that_trains_nothing_or_has_no_rank_is_refused():
    with pytest.raises(ValueError, match="must be true"):
        LoraSpec(train_attn=False, train_mlp=False, train_unembed=False)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        LoraSpec(rank=0)
