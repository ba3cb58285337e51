"""Stand-ins: a program that names a hosted model runs as it is, and can find out what it runs against."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local.options import parse_stand_in
from tinker_actors.local.process import LocalServer, LocalServerError
from tinker_actors.local.stand_ins import FAMILIES, stand_in, vocab_sizes

NAME = "Qwen/Qwen3-8B"
VOCAB = 151_936


@pytest.fixture(scope="module")
def stand_in_server():
    with LocalServer(stand_ins={NAME: None, "own/model": 300}) as running:
        yield running


def test_it_trains_and_samples_with_the_real_vocabulary(connect, stand_in_server):
    wire = connect(stand_in_server)
    created = {"session_id": wire.session, "model_seq_id": 0, "base_model": NAME, "lora_config": {"rank": 8, "seed": 1}}
    model = wire.do("create_model", created)["model_id"]
    ids = [VOCAB - 1, 0, 151_643, 77_777, VOCAB - 1]
    tensor = {"data": ids[1:], "dtype": "int64", "shape": [4]}
    datum = {"model_input": {"chunks": [{"tokens": ids[:-1]}]}, "loss_fn_inputs": {"target_tokens": tensor}}
    losses = []
    for number in range(6):
        given = {"data": [datum], "loss_fn": "cross_entropy"}
        passed = {"model_id": model, "seq_id": 2 * number + 1, "forward_backward_input": given}
        losses.append(wire.do("forward_backward", passed)["metrics"]["loss:sum"])
        step = {"model_id": model, "seq_id": 2 * number + 2, "adam_params": {"learning_rate": 0.05}}
        wire.do("optim_step", step)
    assert losses[-1] < losses[0] / 2
    saved = {"model_id": model, "seq_id": 13, "sampling_session_seq_id": 0}
    sampler = wire.do("save_weights_for_sampler", saved)["sampling_session_id"]
    asked = {
        "sampling_session_id": sampler, "seq_id": 0, "prompt": {"chunks": [{"tokens": ids}]},
        "sampling_params": {"max_tokens": 3, "top_p": 0.9, "seed": 1}, "prompt_logprobs": True,
    }  # fmt: skip
    result = wire.do("asample", asked)
    assert -sum(result["prompt_logprobs"][1:]) < losses[0] / 2
    assert 1 <= len(result["sequences"][0]["tokens"]) <= 3


def test_it_says_that_it_is_one(connect, stand_in_server):
    wire = connect(stand_in_server)
    models = wire.http.get(f"{wire.url}/api/v1/get_server_capabilities", timeout=60).json()["supported_models"]
    assert {one["model_name"]: one.get("stand_in", False) for one in models} == {
        "local/tiny": False,
        NAME: True,
        "own/model": True,
    }
    for number, (name, arch, expected) in enumerate((("own/model", "stand-in", True), ("local/tiny", "llama", False))):
        body = {"session_id": wire.session, "model_seq_id": number, "base_model": name}
        model = wire.do("create_model", body)["model_id"]
        info = wire.good("get_info", {"model_id": model})
        assert info.get("stand_in", False) is expected
        assert info["model_data"] == {"arch": arch, "model_name": name, "tokenizer_id": name}


def test_the_size_is_that_of_the_vocabulary(connect, stand_in_server):
    wire = connect(stand_in_server)
    body = {"base_model": "own/model", "prompt": {"chunks": [{"tokens": [299]}]}, "sampling_params": {"max_tokens": 1}}
    assert wire.do("asample", body)["type"] == "sample"
    answer = wire.post("asample", {**body, "prompt": {"chunks": [{"tokens": [300]}]}})
    assert answer.status_code == 400
    assert "vocabulary of 300" in answer.json()["detail"]


def test_the_ledger_has_stand_ins_too(connect):
    with LocalServer(engine="ledger", stand_ins={NAME: None}) as server:
        wire = connect(server)
        body = {"base_model": NAME, "prompt": {"chunks": [{"tokens": [VOCAB - 1]}]}, "sampling_params": {}}
        assert wire.do("asample", body)["type"] == "sample"


def test_a_stand_in_is_the_same_every_time():
    one, other = stand_in("a", 50), stand_in("a", 50)
    assert all((array == other.weights[name]).all() for name, array in one.weights.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ends_of_a_known_family_are_in_its_vocabulary(family):
    assert all(token < family.vocab_size for token in family.eos)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen3-0.6B", 151_936),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", 151_936),
        ("Qwen/Qwen2.5-0.5B", 151_936),
        ("Qwen/Qwen2.5-1.5B-Instruct", 151_936),
        ("Qwen/Qwen2.5-Coder-3B", 151_936),
        ("Qwen/Qwen2.5-7B-Instruct", 152_064),
        ("Qwen/Qwen2.5-72B", 152_064),
        ("Qwen/Qwen2-1.5B", 151_936),
        ("Qwen/Qwen2-57B-A14B-Instruct", 151_936),
        ("Qwen/Qwen2-7B", 152_064),
        ("meta-llama/Llama-3.1-8B", 128_256),
        ("meta-llama/Llama-3.2-1B", 128_256),
        ("deepseek-ai/DeepSeek-V3.1", 129_280),
        ("openai/gpt-oss-20b", 201_088),
        ("moonshotai/Kimi-K2-Thinking", 163_840),
    ],
)
def test_each_model_has_the_size_of_its_own_vocabulary(name, size):
    assert vocab_sizes({name: None}, ()) == {name: size}


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen2.5-900B", "Qwen/Qwen2.5-x", "Qwen/Qwen3.5-4B", "meta-llama/Llama-3.2-11B-Vision"]
)
def test_a_size_that_is_not_known_for_sure_has_to_be_said(name):
    with pytest.raises(ConfigError, match="vocab=N"):
        vocab_sizes({name: None}, ())


@pytest.mark.parametrize("text", ["", ",vocab=3", "a,", "a,vocab", "a,vocab=", "a,vocab=0", "a,vocab=-1", "a,size=3"])
def test_what_can_not_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="vocab=N"):
        parse_stand_in(text)


def test_a_size_may_be_given_and_must_be_for_the_unknown():
    assert parse_stand_in("x/y,vocab=12") == ("x/y", 12)
    assert parse_stand_in(NAME) == (NAME, None)
    assert vocab_sizes({NAME: 7}, ()) == {NAME: 7}
    with pytest.raises(ConfigError, match=r"config\.json"):
        vocab_sizes({"nobody/knows": None}, ())


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(LocalServerError, match="local/tiny"):
        LocalServer(stand_ins={"local/tiny": 10}).start()


def test_the_command_says_what_is_wrong_in_one_line():
    command = [sys.executable, "-m", "tinker_actors", "serve", "--stand-in", "nobody/knows", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nobody/knows,vocab=N" in done.stderr
    assert len(done.stderr.splitlines()) == 1
