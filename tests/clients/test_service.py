"""What a service client refuses before anything is sent, and what its end leaves behind."""

from __future__ import annotations

import gc

import pytest

import tinker_actors as ta
from tinker_actors.local.core import Answer as CoreAnswer

NOWHERE = "http://127.0.0.1:1"
MODEL = "local/ledger"


def test_a_session_with_metadata_that_can_not_be_sent_is_not_opened():
    with pytest.raises(ta.InvalidInputError, match="user_metadata"):
        ta.ServiceClient({"run": object()}, base_url=NOWHERE)


@pytest.mark.parametrize(
    "arguments",
    [
        {"user_metadata": {"run": object()}},
        {"user_metadata": "run"},
        {"rank": 0},
        {"rank": "8"},
        {"seed": 0.5},
        {"base_model": ""},
        {"base_model": 5},
        {"base_model": "\ud800"},
    ],
)
def test_a_model_that_can_not_be_asked_for_is_refused_at_once(simulation, service, arguments):
    with pytest.raises(ta.InvalidInputError, match=next(iter(arguments))):
        service.create_lora_training_client(**{"base_model": MODEL, **arguments})
    good = service.create_lora_training_client(MODEL, rank=4, user_metadata={"run": [1, {"a": 2}]})
    simulation.wait_for(good._ready)
    assert good._ready.result(0)


def test_metadata_of_a_restored_model_are_checked_too(service):
    with pytest.raises(ta.InvalidInputError, match="user_metadata"):
        service.create_training_client_from_state("tinker://run/weights/x", user_metadata={"run": object()})


@pytest.mark.parametrize("bad", ["", 5, "\ud800"])
def test_a_name_or_path_that_can_not_be_sent_is_refused_at_once(service, bad):
    path = f"tinker://run/weights/{bad}" if bad == "\ud800" else bad
    with pytest.raises(ta.InvalidInputError, match="base_model"):
        service.create_sampling_client(base_model=bad)
    with pytest.raises(ta.InvalidInputError, match="model_path"):
        service.create_sampling_client(path)
    with pytest.raises(ta.InvalidInputError, match="path"):
        service.create_training_client_from_state(path)


READS = {
    "result": lambda handle, _: handle.result(0),
    "await": lambda handle, _: handle.__await__().send(None),
    "an operation": lambda _, operation: operation.result(0),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_model_that_was_refused_is_freed_when_its_failure_was_raised(simulation, service, read, monkeypatch):
    answer = simulation.core.handle

    def refusing(request, now):
        refused = request.path.endswith("create_model")
        return CoreAnswer(400, b'{"detail":"no such model"}') if refused else answer(request, now)

    monkeypatch.setattr(simulation.core, "handle", refusing)

    def ask():
        trainer = service.create_lora_training_client("nope")
        operation = trainer.optim_step()
        simulation.wait_for(trainer._ready, operation)
        with pytest.raises(ta.BadRequestError):
            read(trainer, operation)

    ask()
    gc.collect()
    supervisor = service.actor_ref.actor_inbox.actor
    simulation.runtime.run_until(lambda: list(supervisor._children) == ["registry", "session"], most=1000)


def test_samplers_say_what_they_are(simulation, service):
    sampler = service.create_sampling_client(base_model=MODEL)
    assert repr(sampler) == "<SamplingClient creating>"
    simulation.wait_for(sampler.sample(ta.ModelInput.from_ints([1]), 1, ta.SamplingParams(max_tokens=1)))
    assert repr(sampler) == f"<SamplingClient ready: {MODEL}>"
    simulation.close(service)
    assert repr(sampler) == f"<SamplingClient failed: {MODEL}: The service client was closed.>"


def test_a_sampler_that_could_not_be_made_says_what_it_should_have_been_and_why_it_is_not(simulation, service):
    sampler = service.create_sampling_client(base_model="nope")
    simulation.runtime.run_until(lambda: "failed" in repr(sampler))
    assert repr(sampler).startswith(
        "<SamplingClient failed: nope: create_sampling_session failed: There is no base model"
    )
