"""Listings: sessions, training runs and checkpoints, in parts and in order."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import ServiceCore
from tinker_actors.local.ledger import LedgerEngine


def test_sessions_are_listed_the_newest_first_and_in_parts(driver):
    made = []
    for _ in range(5):
        driver.now += 1
        made.append(driver.session())
    assert driver.get("sessions")["sessions"] == made[::-1]
    assert driver.get("sessions?limit=2&offset=1")["sessions"] == [made[3], made[2]]
    assert driver.get("sessions?offset=9")["sessions"] == []
    assert driver.get("sessions?access_scope=accessible&limit=1")["sessions"] == [made[4]]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=1001", "offset=-1", "offset=1e3", "limit=²", "access_scope=all"]
)
def test_a_part_that_is_no_part_is_refused(driver, query):
    assert driver.call(f"sessions?{query}", None, "GET")[0] == 422


def test_a_session_shows_its_runs_samplers_and_metadata_also_when_it_has_ended(driver):
    body = {"tags": [], "user_metadata": {"a": "b", "n": 1}, "sdk_version": "0", "display_name": "mine"}
    session = driver.good("create_session", body)["session_id"]
    model = driver.model(session)
    sampler = driver.sampler(session)
    ephemeral = driver.submit(
        "save_weights_for_sampler", {"model_id": model, "seq_id": 1, "sampling_session_seq_id": 1}
    )
    driver.work()
    expected = {
        "training_run_ids": [model],
        "sampler_ids": [sampler, driver.result(ephemeral)["sampling_session_id"]],
        "user_metadata": {"a": "b", "n": "1"},
        "display_name": "mine",
    }
    assert driver.get(f"sessions/{session}?access_scope=owned") == expected
    driver.good(f"sessions/{session}/finish", {"reason": {"type": "success"}, "detail": None})
    assert driver.get(f"sessions/{session}") == expected
    assert driver.call("sessions/session-none", None, "GET")[0] == 404


def test_runs_are_listed_by_their_last_request(driver, bodies):
    session = driver.session()
    models = []
    for number in range(3):
        driver.now += 10
        models.append(driver.model(session, number))
    driver.now += 10
    driver.good("get_info", {"model_id": models[0]})
    said = driver.get("training_runs?limit=2")
    assert [run["training_run_id"] for run in said["training_runs"]] == [models[0], models[2]]
    assert said["cursor"] == {"offset": 0, "limit": 2, "total_count": 3}
    said = driver.get("training_runs?limit=2&offset=2")
    assert [run["training_run_id"] for run in said["training_runs"]] == [models[1]]


def test_a_run_shows_its_newest_checkpoints_and_the_official_fields(driver):
    model = driver.model(user_metadata={"k": "v"})
    first = driver.saved(model, 1, "one")
    driver.now += 5
    second = driver.saved(model, 2, "two", ttl_seconds=3600, user_metadata={"c": "d"})
    sampler = driver.saved(model, 3, "s", sampler=True)
    said = driver.get(f"training_runs/{model}")
    last, last_sampler = said.pop("last_checkpoint"), said.pop("last_sampler_checkpoint")
    assert said == {
        "training_run_id": model,
        "base_model": "local/ledger",
        "model_owner": "local",
        "is_lora": True,
        "corrupted": False,
        "lora_rank": 4,
        "last_request_time": "2027-01-15T08:01:45Z",
        "user_metadata": {"k": "v"},
    }
    size = last.pop("size_bytes")
    assert size > 0
    assert last == {
        "checkpoint_id": "weights/two",
        "checkpoint_type": "training",
        "time": "2027-01-15T08:01:45Z",
        "tinker_path": second,
        "public": False,
        "user_metadata": {"c": "d"},
        "expires_at": "2027-01-15T09:01:45Z",
    }
    assert last_sampler["tinker_path"] == sampler
    assert last_sampler["checkpoint_type"] == "sampler"
    assert last_sampler["expires_at"] is None
    paths = [entry["tinker_path"] for entry in driver.get(f"training_runs/{model}/checkpoints")["checkpoints"]]
    assert paths == [second, sampler, first]
    assert driver.call("training_runs/none/checkpoints", None, "GET")[0] == 404


def test_all_ones_checkpoints_are_listed_in_parts(driver):
    session = driver.session()
    paths = []
    for number in range(2):
        model = driver.model(session, number)
        for seq_id in (1, 2):
            driver.now += 1
            paths.append(driver.saved(model, seq_id, f"c{seq_id}"))
    found = []
    for offset in (0, 3):
        said = driver.get(f"checkpoints?limit=3&offset={offset}")
        assert said["cursor"] == {"offset": offset, "limit": 3, "total_count": 4}
        found += [entry["tinker_path"] for entry in said["checkpoints"]]
    assert found == paths[::-1]
    assert driver.get("checkpoints")["cursor"]["limit"] == 100


def test_a_project_is_assigned_and_filters_runs(driver):
    plain, assigned = driver.session(), driver.session()
    driver.model(plain)
    model = driver.model(assigned)
    driver.good(f"sessions/{assigned}/project", {"project_id": "p1"}, "PUT")
    assert [run["training_run_id"] for run in driver.get("training_runs?project_id=p1")["training_runs"]] == [model]
    assert driver.get("training_runs?project_id=p2")["training_runs"] == []
    assert driver.get("training_runs")["cursor"]["total_count"] == 2


def test_a_trace_is_said_not_to_be_had(driver):
    session = driver.session()
    assert driver.get(f"sessions/{session}/trace_export")["status"] == "failed"
    assert driver.call("sessions/none/trace_export", None, "GET")[0] == 404


@pytest.fixture
def searched(driver):
    """Four sessions in four states, by name."""
    found = {}
    for name in ("living", "finished", "silent", "errored"):
        driver.now += 1
        body = {
            "tags": [],
            "sdk_version": "0",
            "display_name": name,
            "project_id": "p" if name == "living" else None,
            "user_metadata": {"kind": name},
        }
        found[name] = driver.good("create_session", body)["session_id"]
    driver.model(found["living"])
    driver.saved(f"{found['living']}:train:0", 1, "c")
    driver.good(f"sessions/{found['finished']}/finish", {"reason": {"type": "success"}, "detail": "done"})
    driver.good(f"sessions/{found['errored']}/finish", {"reason": {"type": "errored"}, "detail": None})
    driver.now += 299
    driver.good("session_heartbeat", {"session_id": found["living"]})
    driver.now += 10
    driver.core.tick(driver.now)
    return found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["errored", "silent", "finished", "living"]),
        ({"statuses": [{"type": "active"}]}, ["living"]),
        ({"statuses": [{"type": "cancelled"}]}, ["silent"]),
        ({"statuses": [{"type": "failed"}]}, []),
        ({"statuses": [{"type": "client_finished"}]}, ["errored", "finished"]),
        (
            {"statuses": [{"type": "client_finished", "reasons": ["errored"]}, {"type": "active"}]},
            ["errored", "living"],
        ),
        ({"display_name": "silent"}, ["silent"]),
        ({"user_metadata": {"kind": "living"}}, ["living"]),
        ({"user_metadata": {"kind": "living", "more": "x"}}, []),
        ({"project_ids": ["p"]}, ["living"]),
        ({"project_ids": ["default"]}, ["errored", "silent", "finished"]),
        ({"owner": {"type": "accessible"}, "display_name": "living"}, ["living"]),
        ({"owner": {"type": "user", "owner_urns": ["tml:user:local"]}, "limit": 1}, ["errored"]),
        ({"owner": {"type": "user", "owner_urns": ["tml:user:other"]}}, []),
    ],
)
def test_a_search_finds_what_fits(driver, searched, asked, expected):
    said = driver.good("sessions/search", asked)
    assert [searched[name] for name in expected] == [summary["session_id"] for summary in said["sessions"]]


def test_a_search_says_how_sessions_ended_and_goes_on_behind_a_cursor(driver, searched):
    said = driver.good("sessions/search", {"limit": 3})
    statuses = {summary["display_name"]: summary["status"] for summary in said["sessions"]}
    assert statuses["errored"] == {"type": "client_finished", "reason": {"type": "errored"}, "detail": None}
    assert statuses["silent"] == {"type": "cancelled", "detail": "no heartbeat came for 300 seconds"}
    assert statuses["finished"]["detail"] == "done"
    said = driver.good("sessions/search", {"limit": 3, "cursor": said["next_cursor"]})
    (living,) = said["sessions"]
    assert living["status"] == {"type": "active"}
    assert living["checkpoints_count"] == 1
    assert living["checkpoint_storage_bytes"] > 0
    assert living["owner"] == "tml:user:local"
    assert said["next_cursor"] is None


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": 201},
        {"owner": {"type": "user", "owner_urns": []}},
        {"owner": {"type": "nobody"}},
        {"statuses": [{"type": "dead"}]},
        {"cursor": {"last_created_at": "2027-01-15T08:01:40", "last_session_id": "x"}},
    ],
)
def test_a_search_for_nonsense_is_refused(driver, asked):
    assert driver.call("sessions/search", asked)[0] == 422


def test_a_restarted_server_still_lists_and_says_that_sessions_were_cancelled(driver, make_driver):
    model = driver.model()
    path = driver.saved(model, 1, "kept")
    again = make_driver(store=driver.store, ids="new")
    assert again.get("checkpoints")["checkpoints"][0]["tinker_path"] == path
    assert again.get(f"training_runs/{model}")["last_checkpoint"]["tinker_path"] == path
    (summary,) = again.good("sessions/search", {})["sessions"]
    assert summary["status"] == {"type": "cancelled", "detail": "the server was restarted"}


def test_telemetry_is_counted_by_kind_and_accepted_whatever_it_is(driver):
    events = [{"event": "SESSION_START", "severity": "INFO"}, {"event": "GENERIC_EVENT"}, {"event": "GENERIC_EVENT"}]
    assert driver.good("telemetry", {"events": events, "session_id": "s"}) == {"status": "accepted"}
    assert json.loads(driver.raw("telemetry", b"{nonsense").body) == {"status": "accepted"}
    assert driver.core.state.telemetry == {"SESSION_START": 1, "GENERIC_EVENT": 2, "UNREADABLE": 1}


def test_a_core_may_be_made_without_saying_who_may_call(driver):
    core = ServiceCore(LedgerEngine(), driver.store, None, lambda: "x")
    assert not core.state.access.guarded
