"""Samplers: of very many, the ones used last are kept, and of weights from checkpoints those are in memory."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tinker_actors.local.core import Hold, Limits
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.samples import samplers
from tinker_actors.local.core.samples.samplers import Sampler, Samplers, Weights, WeightsRef
from tinker_actors.local.ledger import LedgerEngine


class Source:
    """An engine and a store of checkpoints that notes what it was asked for."""

    def __init__(self):
        self.read_paths = []

    def read(self, path):
        self.read_paths.append(path)
        return SimpleNamespace(meta=meta(path), adapter=path)

    def weights(self, _base_model, _lora, adapter):
        return f"weights of {adapter}"

    def weights_bytes(self, _base_model, _lora):
        return 10


def meta(path):
    return SimpleNamespace(uid=path, path=path, base_model="base", lora=None)


def test_weights_that_were_used_long_ago_are_read_again():
    source = Source()
    weights = Weights(source, source)
    refs = [weights.of_checkpoint(meta(str(number))) for number in range(samplers._KEPT + 1)]
    for ref in refs[:-1]:
        weights.load(ref)
    weights.load(refs[0])  # so that another one is the oldest
    assert weights.load(refs[-1]) == f"weights of {samplers._KEPT}"
    assert [number for number, ref in enumerate(refs) if ref.value is None] == [1]
    assert weights.load(refs[1]) == "weights of 1"
    assert source.read_paths.count("1") == 2
    assert sum(ref.value is not None for ref in refs) == samplers._KEPT


def test_weights_that_nobody_has_any_more_are_not_kept():
    source = Source()
    weights = Weights(source, source)
    weights.load(weights.of_checkpoint(meta("a")))
    assert not weights._recent


def test_weights_from_checkpoints_take_so_much_memory_and_no_more():
    source = Source()
    weights = Weights(source, source, 35)
    refs = [weights.of_checkpoint(meta(str(number))) for number in range(5)]
    for ref in refs:
        weights.load(ref)
    assert [ref.value is not None for ref in refs] == [False, False, True, True, True]
    alone = Weights(source, source, 5)
    assert alone.load(alone.of_checkpoint(meta("large"))) == "weights of large"


def sampler(name, weight=0, owner="me"):
    return Sampler(f"s:sample:{name}", "s", owner, WeightsRef("base", None, "value", weight))


def test_of_very_many_samplers_those_used_last_are_kept():
    found = Samplers(Limits(samplers_per_owner=3), lambda _: False)
    first, *others = (sampler(name) for name in "abc")
    assert [found.add(one) for one in (first, *others)] == [[], [], []]
    assert found.get(first.sampler_id) is first
    assert found.add(sampler("other", owner="somebody")) == []
    assert found.add(sampler("d")) == [others[0]]
    assert found.get(others[0].sampler_id) is None
    assert len(found) == 4


def test_weights_that_only_samplers_have_take_so_much_memory_and_no_more():
    """An owner gets as much as is still free then, but always has his newest ones."""
    found = Samplers(Limits(sampler_bytes=100), lambda _: False)
    for number in range(50):
        found.add(sampler(number, 10))
    assert found.own_bytes == 50
    for number in range(50):
        found.add(sampler(f"other-{number}", 10, "other"))
    assert found.own_bytes == 70
    found.add(sampler("large", 1000))
    assert found.get("s:sample:large") is not None
    assert found.own_bytes == 1020
    assert found.add(sampler("base", 0)) == []


def test_samplers_that_are_drawn_from_go_last():
    busy = set()
    found = Samplers(Limits(sampler_bytes=40), lambda weights: id(weights) in busy)
    old, middle, new = (sampler(name, 10) for name in "abc")
    busy.add(id(old.weights))
    assert found.add(old) == found.add(middle) == []
    assert found.add(new) == [middle]
    busy.add(id(new.weights))
    assert found.add(sampler("d", 10)) == [old]


class HeavyEngine(LedgerEngine):
    """A ledger whose weights take memory, as they say."""

    def weights_bytes(self, _base_model, _lora):
        return 1000


@pytest.fixture
def heavy(make_driver):
    def make(**options):
        driver = make_driver(**options)
        driver.core.state.weights._engine = HeavyEngine()
        return driver

    return make


def publish(driver, model, number):
    """Save weights without a name; returns the sampler."""
    body = {"model_id": model, "seq_id": number, "sampling_session_seq_id": number}
    request_id = driver.submit("save_weights_for_sampler", body)
    driver.work("train")
    return driver.result(request_id)["sampling_session_id"]


def test_a_policy_that_is_published_for_ever_keeps_its_newest_versions(heavy, bodies):
    driver = heavy(limits=Limits(sampler_bytes=10_000))
    session = driver.session()
    model = driver.model(session)
    names = [publish(driver, model, number) for number in range(1, 201)]
    state = driver.core.state
    assert state.samplers.own_bytes == 5000
    assert driver.get(f"sessions/{session}")["sampler_ids"] == names[-5:]
    for name in names[-5:]:
        request_id = driver.submit("asample", bodies.sample(name))
        driver.work("sample")
        assert driver.result(request_id)["type"] == "sample"
    for path, body in (("asample", bodies.sample(names[0])), ("retrieve_futures", asked(names[0]))):
        status, said = driver.call(path, body)
        assert (status, names[0] in said["detail"], "saved under a name" in said["detail"]) == (410, True, True)
    assert driver.call("asample", bodies.sample(f"{session}:sample:999"))[0] == 404
    assert len(state.sessions.get(session).sampler_numbers) == 5


def asked(sampler_id):
    target = {"sampling_session_id": sampler_id, "cloned_sampler_id": 0}
    return {"target": target, "prev_cursor": 0, "retrieved_request_ids": []}


def test_samples_of_a_sampler_that_is_given_up_are_told_so(heavy, bodies):
    """All of them are waited for, so the oldest must go."""
    driver = heavy(limits=Limits(sampler_bytes=4_000))
    model = driver.model(driver.session())
    waiting = [driver.submit("asample", bodies.sample(publish(driver, model, number))) for number in range(1, 6)]
    told = [driver.poll(request_id) for request_id in waiting]
    assert [isinstance(answer, Hold) for answer in told] == [False, False, False, True, True]
    assert [(answer.status, "newer ones" in json.loads(answer.body)["detail"]) for answer in told[:3]] == 3 * [
        (410, True)
    ]
    driver.work("sample")
    assert [driver.result(request_id)["type"] for request_id in waiting[3:]] == ["sample", "sample"]


def test_one_owners_samplers_are_not_given_up_for_anothers(heavy, bodies):
    driver = heavy(limits=Limits(sampler_bytes=8_000), access=Access({"k1": "a", "k2": "b"}))
    driver.key = "k1"
    model = driver.model(driver.session())
    mine = [publish(driver, model, number) for number in range(1, 4)]
    driver.key = "k2"
    model = driver.model(driver.session())
    for number in range(1, 50):
        publish(driver, model, number)
    driver.key = "k1"
    for name in mine:
        assert driver.call("asample", bodies.sample(name))[0] == 200


def test_the_number_of_a_sampler_that_was_given_up_is_not_used_again(make_driver):
    driver = make_driver(limits=Limits(samplers_per_owner=2))
    session = driver.session()
    first = driver.sampler(session, 0)
    for number in range(1, 4):
        driver.sampler(session, number)
    body = {"session_id": session, "sampling_session_seq_id": 0, "base_model": "local/ledger"}
    assert driver.call("create_sampling_session", body)[0] == 410
    assert driver.call("asample", {"sampling_session_id": first})[0] in (410, 422)
