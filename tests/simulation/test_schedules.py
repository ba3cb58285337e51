"""Client actors and service core on a network that loses, delays and repeats, over many seeded schedules.

In each schedule every future must be settled, and the ledger must show exactly the operations that were called, in the
order of the calls. A failing seed is named in the test's id and repeats.
"""

from __future__ import annotations

import pytest

import tinker_actors as ta
from tinker_actors.actors.lane.submitting import Submitting
from tinker_actors.local.core import Answer as CoreAnswer
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM

pytestmark = pytest.mark.slow

SCHEDULES = 500
BATCH = 50
STORM = Mishaps(
    refused=0.1, request_lost=0.1, answer_lost=0.15, twice=0.15, busy=0.1, throttled=0.05, slow=0.4, longest=8.0
)


def datum(first):
    ids = [first, first + 1, first + 2]
    targets = [token + 1 for token in ids]
    return ta.Datum(ta.ModelInput.from_ints(ids), {"target_tokens": targets, "weights": [1.0] * 3})


def train_and_sample(seed, mishaps, *, most=20_000, **config):
    """Run a few steps and samples; return what came back, and the simulation."""
    simulation = Simulation(seed, mishaps, **config)
    service = simulation.service()
    trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
    training = []
    for i in range(3):
        data = [datum(10 * i + j) for j in range(3)]
        training.append(trainer.forward_backward(data, "cross_entropy"))
        training.append(trainer.optim_step(ta.AdamParams(learning_rate=0.1 * (i + 1))))
    training.append(trainer.forward([datum(1)], "cross_entropy"))
    sampler = trainer.save_weights_and_get_sampling_client()
    prompt = ta.ModelInput.from_ints([1, 2, 3])
    samples = [sampler.sample(prompt, 1, ta.SamplingParams(max_tokens=4, seed=i)) for i in range(5)]
    simulation.wait_for(*training, *samples, most=most)
    results = [future.result(0).metrics for future in training]
    results += [future.result(0).sequences[0].tokens for future in samples]
    assert not service._service.lanes.under_way(service._service.link)
    simulation.close(service)
    return results, simulation


@pytest.fixture(scope="module")
def undisturbed():
    return train_and_sample(0, CALM)[0]


@pytest.fixture(scope="module")
def undisturbed_in_chunks():
    return train_and_sample(0, CALM, max_chunk_len=1)[0]


@pytest.mark.parametrize("first", range(0, SCHEDULES, BATCH))
def test_every_operation_is_applied_once_and_in_order(first, undisturbed):
    fates: set[str] = set()
    for seed in range(first, first + BATCH):
        results, simulation = train_and_sample(seed, Mishaps())
        assert results == undisturbed, f"seed {seed}"
        fates |= set(simulation.network.fates)
    assert fates == {"delivered", "refused", "request_lost", "answer_lost", "twice", "busy", "throttled"}


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_chunks_in_a_storm_are_applied_once_and_in_order(first, undisturbed_in_chunks):
    for seed in range(first, first + 25):
        results, _ = train_and_sample(seed, STORM, max_chunk_len=1, creation_timeout=1000.0)
        assert results == undisturbed_in_chunks, f"seed {seed}"


def test_the_same_seed_gives_the_same_schedule():
    first, second = (train_and_sample(7, STORM, creation_timeout=1000.0)[1] for _ in range(2))
    assert first.network.fates == second.network.fates
    assert first.runtime.clock.now() == second.runtime.clock.now()


def failing_data():
    """Data that every check of the client lets pass and the engine refuses."""
    return [ta.Datum(ta.ModelInput.from_ints([5000]), {"target_tokens": [1], "weights": [1.0]})]


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_a_failed_gradient_never_becomes_a_step(first):
    for seed in range(first, first + 25):
        simulation = Simulation(seed)
        service = simulation.service()
        trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
        good = trainer.forward_backward([datum(1)], "cross_entropy")
        bad = trainer.forward_backward(failing_data(), "cross_entropy")
        refused = trainer.optim_step()
        simulation.wait_for(good, bad, refused)
        assert isinstance(bad.exception(0), ta.RequestFailedError), f"seed {seed}"
        again, applied = trainer.forward_backward([datum(2)], "cross_entropy"), trainer.optim_step()
        simulation.wait_for(again, applied)
        assert isinstance(refused.exception(0), ta.PrecedingOperationFailed), f"seed {seed}"
        assert applied.result(0).metrics["steps:max"] == 1, f"seed {seed}"
        simulation.close(service)


def policy_datum():
    values = {"target_tokens": [2], "logprobs": [-1.0], "advantages": [1.0], "sequence_ratio_mask": [1.0]}
    return ta.Datum(ta.ModelInput.from_ints([1]), values)


@pytest.mark.parametrize("first", range(0, 50, 25))
def test_a_refused_gradient_stops_what_was_called_before_that_was_known_and_nothing_else(first):
    for seed in range(first, first + 25):
        simulation = Simulation(seed, creation_timeout=1000.0)
        service = simulation.service()
        trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
        good = trainer.forward_backward([datum(1)], "cross_entropy")
        refused = trainer.forward_backward([policy_datum()], "gspo")  # the wire knows this loss, the ledger does not
        kept = trainer.optim_step()
        ignorant = [
            trainer.forward_backward([datum(3)], "cross_entropy"),
            trainer.optim_step(),
            trainer.save_state("x"),
        ]
        simulation.wait_for(good, refused, kept, *ignorant)
        assert isinstance(refused.exception(0), ta.BadRequestError), f"seed {seed}"
        for future in (kept, *ignorant):
            assert isinstance(future.exception(0), ta.PrecedingOperationFailed), f"seed {seed}"
        again, applied = trainer.forward_backward([datum(2)], "cross_entropy"), trainer.optim_step()
        simulation.wait_for(again, applied)
        assert applied.result(0).metrics["steps:max"] == 1, f"seed {seed}"
        simulation.close(service)


def test_a_server_that_is_gone_for_good_leaves_no_future_waiting():
    simulation = Simulation(3, CALM, liveness_limit=60.0)
    service = simulation.service()
    trainer = service.create_lora_training_client("local/ledger", rank=4)
    first = trainer.forward_backward([datum(1)], "cross_entropy")
    simulation.wait_for(first)
    began = simulation.runtime.clock.now()
    pending = [trainer.forward_backward([datum(2)], "cross_entropy"), trainer.optim_step(), trainer.save_state("x")]
    simulation.network.up = False
    simulation.wait_for(*pending)
    assert all(isinstance(future.exception(0), ta.TinkerError) for future in pending)
    assert isinstance(pending[0].exception(0), ta.StalledError)
    assert isinstance(pending[1].exception(0), ta.PrecedingOperationFailed)
    assert isinstance(pending[2].exception(0), ta.PrecedingOperationFailed)
    assert [future.exception(0).outcome for future in pending] == ["unknown", "not_applied", "not_applied"]
    # One limit, looked at ten times within itself.
    assert simulation.runtime.clock.now() - began < 1.2 * 60.0


def test_a_server_that_forgets_a_sample_again_and_again_is_not_asked_for_ever(monkeypatch):
    simulation = Simulation(1, CALM)
    service = simulation.service()
    sampler = service.create_sampling_client(base_model="local/ledger")
    simulation.wait_for(sampler._ready)
    answer = simulation.core.handle

    def forgetful(request, now):
        if request.path.endswith("retrieve_future"):
            return CoreAnswer(410, b'{"detail":"forgotten"}')
        return answer(request, now)

    monkeypatch.setattr(simulation.core, "handle", forgetful)
    future = sampler.sample(ta.ModelInput.from_ints([1]), 1, ta.SamplingParams(max_tokens=1))
    simulation.wait_for(future)
    assert future.exception(0).status_code == 410
    assert future.exception(0).attempts == 6


def test_a_server_that_is_gone_for_a_while_costs_nothing_but_time():
    simulation = Simulation(5, CALM)
    service = simulation.service()
    trainer = service.create_lora_training_client("local/ledger", rank=4)
    simulation.wait_for(trainer._ready)
    simulation.network.up = False
    pending = [trainer.forward_backward([datum(2)], "cross_entropy"), trainer.optim_step()]
    simulation.runtime.timers.call_at(
        simulation.runtime.clock.now() + 120.0, lambda: setattr(simulation.network, "up", True)
    )
    simulation.wait_for(*pending)
    assert pending[1].result(0).metrics["steps:max"] == 1


# ---------------------------------------------------------------- would a defect show?


def differing(expected, mishaps, seeds=60, **config):
    """Return how many schedules end differently, or not at all."""
    count = 0
    for seed in range(seeds):
        try:
            count += train_and_sample(seed, mishaps, **config)[0] != expected
        except (AssertionError, ta.TinkerError):
            count += 1
    return count


def test_resending_under_a_new_number_would_be_found(undisturbed, monkeypatch):
    resend = Submitting._resend

    def renumbered(self, work):
        body = work.head
        if b'"seq_id":' in body and b'"model_id":' in body:
            number = int(body.split(b'"seq_id":')[1].split(b",")[0])
            work.head = body.replace(b'"seq_id":%d,' % number, b'"seq_id":%d,' % (number + 1))
        resend(self, work)

    monkeypatch.setattr(Submitting, "_resend", renumbered)
    assert differing(undisturbed, Mishaps(), seeds=10)


def test_sending_out_of_order_would_be_found(undisturbed, monkeypatch):
    from tinker_actors.actors.model.actor import Training

    advance = Training.advance

    def hasty(self):
        if len(self._queue) > 1:
            self._queue.rotate(1)
        advance(self)

    monkeypatch.setattr(Training, "advance", hasty)
    assert differing(undisturbed, CALM, seeds=3)
