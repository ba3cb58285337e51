"""Usage: tokens counted where they were used, and shown in windows of whole hours."""

from __future__ import annotations

import pytest

WINDOW = "starting_on=2027-01-15T08:00:00Z&ending_before=2027-01-15T10:00:00%2B00:00"


def counts(driver, window=WINDOW):
    said = driver.get(f"billing/usage/events?{window}")
    return {
        (event["bucket_start"][11:13], event["event_info"]["type"]): event["event_info"].get(
            "token_count", event["event_info"].get("count")
        )
        for event in said["data"]
    }


def test_tokens_are_counted_by_hour_and_kind(driver, bodies):
    model = driver.model()
    driver.submit("forward_backward", bodies.forward_backward(model, 1, bodies.datum([1, 2, 3]), bodies.datum([4, 5])))
    driver.work()
    driver.saved(model, 2, "c")
    sampler = driver.sampler(model.partition(":")[0])
    driver.now += 3600
    driver.submit("asample", bodies.sample(sampler, 0, num_samples=2, sampling_params={"max_tokens": 4, "stop": []}))
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 3, bodies.datum([9, 99999])))
    driver.work()
    assert "error" in driver.result(failed)
    assert counts(driver) == {
        ("08", "training"): 5,
        ("08", "checkpoint"): 1,
        ("09", "sampling_prefill"): 3,
        ("09", "sampling_sample"): 8,
    }
    assert set(counts(driver, "starting_on=2027-01-15T09:00:00Z&ending_before=2027-01-15T10:00:00Z")) == {
        ("09", "sampling_prefill"), ("09", "sampling_sample"),
    }  # fmt: skip


def test_events_name_the_session_and_its_project(driver, bodies):
    body = {"tags": [], "sdk_version": "0", "project_id": "p", "user_metadata": {"a": "b"}}
    session = driver.good("create_session", body)["session_id"]
    sampler = driver.sampler(session)
    driver.submit("asample", bodies.sample(sampler))
    driver.submit("asample", bodies.sample(None, None, base_model="local/ledger"))
    driver.work()
    said = driver.get(f"billing/usage/events?{WINDOW}")
    assert {(event["session_id"], event["project_id"]) for event in said["data"]} == {(session, "p"), (None, None)}
    assert {event["user_name"] for event in said["data"]} == {"local"}
    assert said["sessions"] == {session: {"user_metadata": {"a": "b"}}}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "starting_on=2027-01-15T08:00:00Z",
        "starting_on=x&ending_before=y",
        "starting_on=2027-01-15T08:30:00Z&ending_before=2027-01-15T09:00:00Z",
        "starting_on=2027-01-15T08:00:00Z&ending_before=2027-01-15T08:00:00Z",
        "starting_on=2027-01-01T00:00:00Z&ending_before=2027-01-15T01:00:00Z",
    ],
)
def test_a_window_that_is_none_is_refused(driver, query):
    assert driver.call(f"billing/usage/events?{query}", None, "GET")[0] == 422


def test_storage_is_summed_by_project(driver):
    assert driver.get("billing/usage/checkpoints/current")["data"] == []
    session = driver.session()
    model = driver.model(session)
    driver.saved(model, 1, "a")
    driver.saved(model, 2, "b")
    driver.good(f"sessions/{session}/project", {"project_id": "p"}, "PUT")
    sizes = [entry["size_bytes"] for entry in driver.get("checkpoints")["checkpoints"]]
    (item,) = driver.get("billing/usage/checkpoints/current")["data"]
    assert (item["project_id"], item["checkpoint_count"], item["size_bytes"]) == ("p", 2, sum(sizes))
    assert driver.get("billing/usage/checkpoints/current?project_id=q")["data"] == []
