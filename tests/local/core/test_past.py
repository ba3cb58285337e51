"""The past: sessions and runs that are over are remembered within bounds."""

from __future__ import annotations

import pytest

from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.past import Past


def test_what_ended_first_is_forgotten_first():
    past = Past(3, 100)
    assert [past.add(name, 10) for name in "abcc"] == [[], [], [], []]
    assert past.add("d", 10) == ["a"]
    assert past.add("e", 80) == ["b"]
    assert past.add("f", 1000) == ["c", "d", "e"]
    assert (len(past), "f" in past) == (1, True)


LIMITS = Limits(past_records=3, past_bytes=100_000)


def finish(driver, session):
    assert driver.call(f"sessions/{session}/finish", {"reason": {"type": "success"}})[0] == 200


def test_sessions_that_are_over_are_forgotten_when_there_are_many(make_driver):
    driver = make_driver(limits=LIMITS)
    living = driver.session()
    over = []
    for _ in range(10):
        over.append(driver.session())
        finish(driver, over[-1])
    assert set(driver.get("sessions")["sessions"]) == {*over[-3:], living}
    assert driver.call("session_heartbeat", {"session_id": over[0]})[0] == 404
    assert driver.call("session_heartbeat", {"session_id": over[-1]})[0] == 410
    assert driver.call("session_heartbeat", {"session_id": living})[0] == 200
    restarted = make_driver(limits=LIMITS, store=driver.store, ids="again")
    assert len(restarted.get("sessions")["sessions"]) == 3


def test_sessions_about_which_much_was_said_are_forgotten_sooner(make_driver):
    driver = make_driver(limits=LIMITS)
    for _ in range(10):
        body = {"tags": [], "sdk_version": "0", "user_metadata": {"a": "x" * 40_000}}
        finish(driver, driver.good("create_session", body)["session_id"])
    assert len(driver.get("sessions")["sessions"]) == 2
    assert len(driver.store.sessions()) == 2


@pytest.mark.parametrize("how", ["unload", "finish"])
def test_runs_without_checkpoints_are_forgotten_when_there_are_many(make_driver, how):
    driver = make_driver(limits=LIMITS)
    session = driver.session()
    models = []
    for number in range(10):
        if how == "finish":
            session = driver.session()
        models.append(driver.model(session, number))
        if number == 1:
            path = driver.saved(models[1], 1, "kept")
        if how == "unload":
            driver.submit("unload_model", {"model_id": models[-1]})
            driver.work("train")
            assert driver.call("get_info", {"model_id": models[-1]})[0] == 410
        else:
            finish(driver, session)
    found = [run["training_run_id"] for run in driver.get("training_runs")["training_runs"]]
    assert sorted(found) == sorted([models[1], *models[-3:]])
    assert driver.good("weights_info", {"tinker_path": path})["lora_rank"] == 4
    assert sorted(run.run_id for run in driver.store.runs()) == sorted(found)


def test_one_owners_past_is_not_forgotten_for_anothers(make_driver):
    driver = make_driver(limits=LIMITS, access=Access({"k1": "a", "k2": "b"}))
    driver.key = "k1"
    mine = driver.session()
    finish(driver, mine)
    driver.key = "k2"
    for _ in range(5):
        finish(driver, driver.session())
    driver.key = "k1"
    assert driver.get("sessions")["sessions"] == [mine]


def test_usage_of_a_forgotten_session_is_still_told(make_driver, bodies):
    driver = make_driver(limits=LIMITS)
    first = driver.session()
    driver.submit("asample", bodies.sample(driver.sampler(first, 0)))
    driver.work("sample")
    finish(driver, first)
    for _ in range(5):
        finish(driver, driver.session())
    hour = int(driver.core.state.wall // 3600) * 3600
    said = driver.get(f"billing/usage/events?starting_on={stamp(hour)}&ending_before={stamp(hour + 3600)}")
    assert said["sessions"] == {}
    assert {event["session_id"] for event in said["data"]} == {first}


def stamp(seconds):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
