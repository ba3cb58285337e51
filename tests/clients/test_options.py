"""Views: other terms on the same sampler."""

from __future__ import annotations

import numpy as np
import pytest

import tinker_actors as ta
from tinker_actors.actors.lane.options import DEFAULT_TERMS
from tinker_actors.clients.options import changed_terms, options_of
from tinker_actors.errors import DeadlineExceededError, InvalidInputError

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=4)


@pytest.fixture
def sampler(simulation, service):
    sampler = service.create_sampling_client(base_model="local/ledger")
    simulation.wait_for(sampler._ready)
    return sampler


def test_a_view_is_the_same_sampler_on_other_terms(simulation, sampler):
    view = sampler.with_options(timeout=5, priority="eval", retry=False, tags=["probe"])
    assert isinstance(view, ta.SamplingClient)
    assert view.actor_ref is sampler.actor_ref
    assert view._lease is sampler._lease
    terms = view._terms
    assert (terms.timeout, terms.priority, terms.retries, terms.tags) == (5.0, "eval", 0, ("probe",))
    assert sampler._terms is DEFAULT_TERMS
    future = view.sample(PROMPT, 1, PARAMS)
    assert future.progress().tags == ("probe",)
    simulation.wait_for(future)
    assert len(future.result(0).sequences) == 1


def test_what_is_not_given_is_as_in_the_view_it_was_made_of(sampler):
    first = sampler.with_options(timeout=5, max_in_flight=3, tags=["a"])
    second = first.with_options(priority="train", retry=2)
    assert (second._terms.timeout, second._terms.tags, second._terms.retries) == (5.0, ("a",), 2)
    assert second._terms.room is first._terms.room, "together they may have 3 under way"
    third = second.with_options(timeout=None, max_in_flight=None, tags=())
    assert (third._terms.timeout, third._terms.room, third._terms.tags) == (None, None, ())
    assert third._terms.priority == "train"


def test_making_views_asks_and_starts_nothing(service, sampler):
    table, before = service._service.lanes.tables["sample"], dict(service._service.samplers.current)
    for i in range(100):
        sampler.with_options(timeout=i + 1)
    assert not table
    assert dict(service._service.samplers.current) == before


def test_a_view_takes_no_more_under_way_than_it_may(simulation, sampler):
    view = sampler.with_options(max_in_flight=2)
    futures = [view.sample(PROMPT, 1, PARAMS) for _ in range(6)]
    most = 0
    while not all(future.done() for future in futures):
        simulation.runtime.step()
        most = max(most, sum(f.request_id is not None and not f.done() for f in futures))
    assert 1 <= most <= 2


def test_a_sample_that_waits_longer_than_the_view_allows_is_given_up(simulation, service):
    sampler = service.create_lora_training_client("local/ledger").policy("never published").with_options(timeout=30)
    future = sampler.sample(PROMPT, 1, PARAMS)
    began = simulation.runtime.clock.now()
    simulation.wait_for(future)
    with pytest.raises(DeadlineExceededError):
        future.result(0)
    assert 30 <= simulation.runtime.clock.now() - began < 60


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": "5"}, "seconds above 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"timeout": True}, "seconds above 0"),
        ({"priority": "urgent"}, "'train', 'rollout', 'eval'"),
        ({"priority": ["eval"]}, "'train', 'rollout', 'eval'"),
        ({"max_in_flight": 0}, "above 0"),
        ({"max_in_flight": 2.0}, "above 0"),
        ({"retry": -1}, "a number of repetitions"),
        ({"retry": True}, "a number of repetitions"),
        ({"tags": "tag"}, "list of strings"),
        ({"tags": [1]}, "list of strings"),
    ],
)
def test_what_can_not_be_is_refused_with_what_can(sampler, options, allowed):
    with pytest.raises(InvalidInputError, match=allowed) as refused:
        sampler.with_options(**options)
    assert next(iter(options)) in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [{}, {"timeout": 2.5, "priority": "eval"}, {"retry": False}, {"retry": 3, "max_in_flight": 7, "tags": ("a", "b")}],
)
def test_the_options_of_a_view_can_be_had_back(sampler, options):
    assert options_of(sampler.with_options(**options)._terms) == options


def test_numbers_of_array_libraries_are_numbers():
    options = {"timeout": np.float32(2), "max_in_flight": np.int64(3), "retry": np.int64(1)}
    terms = changed_terms(DEFAULT_TERMS, options)
    assert (terms.timeout, terms.room.limit, terms.retries) == (2.0, 3, 1)


@pytest.mark.parametrize("timeout", [1e300, 10**400])
def test_a_time_that_no_timer_can_wait_is_refused(timeout):
    with pytest.raises(InvalidInputError, match="at most"):
        changed_terms(DEFAULT_TERMS, {"timeout": timeout})
