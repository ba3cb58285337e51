"""What one owner does costs another neither turns nor room; and what one request asks for is bounded."""

from __future__ import annotations

import pytest

from tinker_actors.local.core import Limits
from tinker_actors.local.core.access.authentication import Access

OWNERS = {"tml-ann": "ann", "tml-bob": "bob"}


@pytest.fixture
def owners(make_driver):
    def make(**limits):
        driver = make_driver(Limits(**limits), access=Access(OWNERS))
        driver.key = "tml-ann"
        return driver

    return make


def test_owners_take_turns_in_training_whatever_the_number_of_their_models(owners, bodies):
    driver = owners()
    session = driver.session()
    models = [driver.model(session, number) for number in range(10)]
    driver.key = "tml-bob"
    mine = driver.model(driver.session())
    driver.key = "tml-ann"
    for model in models:
        for number in range(1, 4):
            driver.submit("optim_step", bodies.optim_step(model, number))
    driver.key = "tml-bob"
    steps = {driver.submit("optim_step", bodies.optim_step(mine, number)) for number in (1, 2)}
    decided = set()
    for _ in range(4):
        job = driver.core.next_job("train")
        decided |= driver.core.finish(job, job.run(), driver.now)
    assert steps <= decided


def test_an_owner_has_so_many_sessions_at_once_and_no_more(owners):
    driver = owners(sessions_per_owner=2)
    first, _ = driver.session(), driver.session()
    status, said = driver.call("create_session", {"tags": []})
    assert (status, "You have 2 sessions" in said["detail"]) == (403, True)
    driver.key = "tml-bob"
    driver.session()
    driver.key = "tml-ann"
    driver.good(f"sessions/{first}/finish", {"reason": {"type": "success"}})
    driver.session()


def test_an_owner_has_so_many_models_at_once_and_no_more(owners):
    driver = owners(models_per_owner=2)
    session = driver.session()
    first, _ = driver.model(session, 0), driver.model(session, 1)
    body = {"session_id": session, "model_seq_id": 2, "base_model": "local/ledger", "lora_config": {"rank": 4}}
    status, said = driver.call("create_model", body)
    assert (status, "You have 2 models" in said["detail"]) == (403, True)
    driver.key = "tml-bob"
    driver.model(driver.session())
    driver.key = "tml-ann"
    driver.good("unload_model", {"model_id": first})
    driver.work()
    driver.model(session, 2)


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"max_tokens": 2000}, {"num_samples": 1024}),
        ({"max_tokens": 200, "stop": []}, {"num_samples": 512, "topk_sample_logprobs": 60}),
        ({"max_tokens": 1, "stop": ["x"] * 1000}, {}),
        ({"max_tokens": 1, "stop": "x" * 100_000}, {}),
    ],
)
def test_a_sample_that_would_take_much_memory_is_refused(driver, bodies, params, fields):
    status, said = driver.call("asample", bodies.sample(driver.sampler(), 0, sampling_params=params, **fields))
    assert (status, "this server" in said["detail"] or "at most" in said["detail"]) == (400, True)


@pytest.mark.parametrize(
    "params", [{"top_k": 2**63 - 1}, {"seed": -(2**63)}, {"max_tokens": 2**63 - 1}, {"top_k": 260}]
)
def test_numbers_that_only_look_large_are_what_they_mean(driver, bodies, params):
    sampler = driver.sampler()
    given = {"max_tokens": 3, "stop": [], "seed": 1, **params}
    request_id = driver.submit("asample", bodies.sample(sampler, 0, sampling_params=given))
    driver.work()
    assert "error" not in driver.result(request_id)


def test_requests_that_wait_take_as_much_memory_as_is_still_free(owners, bodies):
    driver = owners(held_bytes=100_000)
    sampler = driver.sampler()
    statuses = [driver.call("asample", bodies.sample(sampler, number))[0] for number in range(100)]
    taken = statuses.count(200)
    assert statuses == [200] * taken + [429] * (100 - taken)
    assert 30 < taken < 60, "about half of it"
    driver.key = "tml-bob"
    assert driver.call("asample", bodies.sample(driver.sampler(), 0))[0] == 200
    driver.work()
    driver.key = "tml-ann"
    assert driver.call("asample", bodies.sample(sampler, 100))[0] == 200


def test_training_data_that_wait_count_and_the_operation_that_all_wait_for_is_let_in(owners, bodies):
    driver = owners(held_bytes=20_000)
    model = driver.model(driver.session())
    statuses = [driver.call("forward_backward", bodies.forward_backward(model, number))[0] for number in range(2, 40)]
    assert 429 in statuses
    assert driver.call("forward_backward", bodies.forward_backward(model, 1))[0] == 200
    driver.work()
    number = 2 + statuses.index(429)
    assert driver.call("forward_backward", bodies.forward_backward(model, number))[0] == 200


def test_of_what_is_larger_than_those_that_wait_for_it_one_is_let_in_at_a_time(owners, bodies):
    """Any number of models may each have such a one."""
    driver = owners(held_bytes=20_000)
    session = driver.session()
    models = [driver.model(session, number) for number in range(4)]
    for model in models:
        driver.good("optim_step", bodies.optim_step(model, 2))
    large = [bodies.forward_backward(model, 1, *[bodies.datum()] * 20) for model in models]
    asked = [driver.call("forward_backward", body) for body in large]
    assert [status for status, _ in asked] == [200, 429, 429, 429]
    driver.work()
    for body in large[1:]:
        assert driver.call("forward_backward", body)[0] == 200
        driver.work()
    driver.result(asked[0][1]["request_id"])
