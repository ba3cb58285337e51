"""Checkpoints over REST: deleted, published, kept for a while, copied; archives behind signed links."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

TTLS = [(3599, 400), (3600, 200), (10 * 365 * 86400, 200), (10 * 365 * 86400 + 1, 400), (None, 200), (-1, 400)]


@pytest.fixture
def saved(driver):
    """A run and the path of its checkpoint `weights/c1`."""
    model = driver.model()
    return model, driver.saved(model, 1, "c1")


def listed(driver):
    return [entry["tinker_path"] for entry in driver.get("checkpoints")["checkpoints"]]


@pytest.mark.parametrize("written", ["weights/c1", "weights%2Fc1", "weights%2fc1"])
def test_a_checkpoint_is_deleted_for_good(driver, saved, written):
    model, path = saved
    place = f"training_runs/{model}/checkpoints/{written}"
    assert driver.call(place, None, "DELETE")[0] == 200
    assert listed(driver) == []
    assert driver.call("weights_info", {"tinker_path": path})[0] == 404
    assert driver.call(place, None, "DELETE")[0] == 404


def test_a_checkpoint_may_be_called_like_an_operation(driver):
    model = driver.model()
    path = driver.saved(model, 1, "publish")
    driver.good(f"training_runs/{model}/checkpoints/weights/publish/publish", None)
    assert driver.get("checkpoints")["checkpoints"][0]["public"] is True
    driver.good(f"training_runs/{model}/checkpoints/weights%2Fpublish/publish", None, "DELETE")
    assert driver.get("checkpoints")["checkpoints"][0]["public"] is False
    driver.good(f"training_runs/{model}/checkpoints/weights/publish", None, "DELETE")
    assert path not in listed(driver)


def test_publishing_twice_is_a_conflict_not_worth_a_retry_and_unpublishing_twice_is_not(driver, saved):
    place = f"training_runs/{saved[0]}/checkpoints/weights/c1/publish"
    assert driver.call(place)[0] == 200
    answer = driver.raw(place)
    assert answer.status == 409
    assert dict(answer.headers)["x-should-retry"] == "false"
    for _ in range(2):
        assert driver.call(place, None, "DELETE")[0] == 200
    assert driver.get("checkpoints")["checkpoints"][0]["public"] is False


@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("DELETE", "weights/none"),
        ("POST", "weights/none/publish"),
        ("DELETE", "weights/none/publish"),
        ("GET", "weights/none/archive"),
        ("GET", "external_weights/none/external_weights_urls"),
    ],
)
def test_what_is_not_there_is_not_found(driver, saved, method, place):
    assert driver.call(f"training_runs/{saved[0]}/checkpoints/{place}", None, method)[0] == 404
    assert driver.call(f"training_runs/none/checkpoints/{place}", None, method)[0] == 404


@pytest.mark.parametrize("place", ["other/c1", "weights/", "weights%2Fc1%2Fd", "%2F"])
def test_what_is_no_checkpoint_id_is_refused(driver, saved, place):
    assert driver.call(f"training_runs/{saved[0]}/checkpoints/{place}", None, "DELETE")[0] == 400


def test_exported_weights_are_not_to_be_had(driver, saved, bodies):
    model, _ = saved
    place = f"training_runs/{model}/checkpoints/weights/c1/external_weights_urls"
    assert driver.call(place, None, "GET")[0] == 400
    assert driver.call("save_weights_external", {"model_id": model, "seq_id": 2, "path": "e"})[0] == 400
    later = driver.submit("forward_backward", bodies.forward_backward(model, 3))
    driver.work()
    assert driver.result(later)["type"] == "forward_backward", "the refused number leaves no gap"


@pytest.mark.parametrize(("seconds", "status"), TTLS)
def test_a_time_to_live_is_an_hour_to_ten_years_or_for_ever(driver, saved, seconds, status):
    place = f"training_runs/{saved[0]}/checkpoints/weights/c1/ttl"
    assert driver.call(place, {"ttl_seconds": seconds}, "PUT")[0] == status
    body = {"model_id": saved[0], "seq_id": 2, "path": "c2", "ttl_seconds": seconds}
    assert driver.call("save_weights", body)[0] == status


@pytest.mark.parametrize("body", [{}, {"ttl_seconds": "3600"}, {"ttl_seconds": 3600.5}])
def test_a_time_to_live_has_to_be_said(driver, saved, body):
    place = f"training_runs/{saved[0]}/checkpoints/weights/c1/ttl"
    assert driver.call(place, body, "PUT")[0] == 422


def test_a_checkpoint_goes_when_its_time_is_over_counted_from_the_last_setting(driver, saved):
    model, path = saved
    place = f"training_runs/{model}/checkpoints/weights/c1/ttl"
    driver.good(place, {"ttl_seconds": 3600}, "PUT")
    driver.now += 3000
    driver.good(place, {"ttl_seconds": 3600}, "PUT")
    driver.now += 3599
    assert listed(driver) == [path]
    driver.now += 1
    assert listed(driver) == [], "even before anybody has tidied up"
    assert driver.call("weights_info", {"tinker_path": path})[0] == 404
    driver.core.tick(driver.now)
    assert driver.store.find(path) is None


def test_a_time_to_live_can_be_taken_away(driver, saved):
    model, path = saved
    for seconds in (3600, None):
        driver.good(f"training_runs/{model}/checkpoints/weights/c1/ttl", {"ttl_seconds": seconds}, "PUT")
    driver.now += 10**6
    driver.core.tick(driver.now)
    assert listed(driver) == [path]


def test_an_expired_checkpoint_can_not_be_loaded_by_an_operation_that_waited_too_long(driver):
    model = driver.model()
    path = driver.saved(model, 1, "brief", ttl_seconds=3600)
    request_id = driver.submit("load_weights", {"model_id": model, "seq_id": 2, "path": path, "optimizer": True})
    driver.now += 3600
    driver.good("session_heartbeat", {"session_id": model.partition(":")[0]})
    driver.work()
    assert "there is no checkpoint" in driver.result(request_id)["error"]


def test_a_copy_is_a_run_of_its_own_with_the_same_weights(driver, bodies, saved):
    _, path = saved
    copy = driver.good("copy_weights", {"source_path": path, "destination_project_id": "p9", "ttl_seconds": 7200})
    run = copy["tinker_path"].removeprefix("tinker://").partition("/")[0]
    assert copy["tinker_path"].endswith("/weights/c1")
    assert driver.get(f"training_runs/{run}")["last_checkpoint"]["tinker_path"] == copy["tinker_path"]
    assert [entry["training_run_id"] for entry in driver.get("training_runs?project_id=p9")["training_runs"]] == [run]
    driver.good(f"training_runs/{saved[0]}/checkpoints/weights/c1", None, "DELETE")
    request_id = driver.submit(
        "load_weights",
        {"session_id": driver.session(), "model_seq_id": 0, "path": copy["tinker_path"], "optimizer": True},
    )
    driver.work()
    assert driver.result(request_id)["path"] == copy["tinker_path"]


def test_a_copy_under_a_sessions_number_is_made_once_and_uses_the_number(driver, saved):
    session = driver.session()
    body = {"source_path": saved[1], "session_id": session, "model_seq_id": 0}
    made = [driver.good("copy_weights", body)["tinker_path"] for _ in range(2)]
    assert made == [f"tinker://{session}:train:0/weights/c1"] * 2
    again = {"session_id": session, "model_seq_id": 0, "base_model": "local/ledger"}
    assert driver.call("create_model", again)[0] == 409


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"session_id": "s"}, 422),
        ({"model_seq_id": 1}, 422),
        ({"session_id": "s", "model_seq_id": -1}, 422),
        ({"session_id": "s", "model_seq_id": 0}, 404),
        ({"ttl_seconds": 5}, 400),
        ({"source_path": "tinker://a/weights/none"}, 404),
        ({"source_path": "nonsense"}, 400),
    ],
)
def test_a_copy_that_can_not_be_made_is_refused(driver, saved, change, status):
    before = driver.get("sessions")
    assert driver.call("copy_weights", {"source_path": saved[1], **change})[0] == status
    assert driver.get("sessions") == before


def link(driver, model, **headers):
    place = f"training_runs/{model}/checkpoints/weights/c1/archive"
    return driver.raw(place, method="GET", **{"host": "127.0.0.1:8000", **headers})


def follow(driver, location):
    parts = urlsplit(location)
    return driver.raw(f"{parts.path.removeprefix('/api/v1/')}?{parts.query}", method="GET")


def test_an_archive_is_behind_a_link_for_a_quarter_of_an_hour(driver, saved):
    model, path = saved
    answer = link(driver, model)
    headers = dict(answer.headers)
    assert answer.status == 302
    assert headers["location"].startswith("http://127.0.0.1:8000/api/v1/archives/")
    assert headers["expires"] == "Fri, 15 Jan 2027 08:16:40 GMT"
    driver.now += 899
    found = follow(driver, headers["location"])
    assert found.status == 200
    assert found.attachment.path == path
    driver.now += 1
    expired = follow(driver, headers["location"])
    assert expired.status == 403
    assert "expired" in json.loads(expired.body)["detail"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("expires=1800001000", "expires=1800009999"),
        ("weights/c1", "weights/c2"),
        ("weights/c1", "sampler_weights/c1"),
        ("signature=", "signature=0"),
        ("signature=", "nosignature="),
        ("uid=", "uid=x"),
        ("expires=1800001000", "expires="),
    ],
)
def test_a_link_that_was_changed_leads_nowhere(driver, saved, old, new):
    location = dict(link(driver, saved[0]).headers)["location"]
    assert old in location
    assert follow(driver, location).status == 200
    assert follow(driver, location.replace(old, new)).status == 403


def test_a_link_does_not_lead_to_what_replaced_or_survived_its_checkpoint(driver, saved):
    model, _ = saved
    location = dict(link(driver, model).headers)["location"]
    driver.saved(model, 2, "c1", overwrite=True)
    assert follow(driver, location).status == 404
    location = dict(link(driver, model).headers)["location"]
    driver.good(f"training_runs/{model}/checkpoints/weights/c1", None, "DELETE")
    assert follow(driver, location).status == 404


@pytest.mark.parametrize("host", ["", "a b", "evil\r\nx: y", "host/path", "u@host", "[::1", "host:port"])
def test_a_link_is_made_for_a_plain_host_only(driver, saved, host):
    assert link(driver, saved[0], host=host).status == 400


@pytest.mark.parametrize("host", ["localhost", "10.0.0.1:80", "[::1]:8000", "a-b.example.org:443"])
def test_a_link_is_made_for_the_host_that_was_called(driver, saved, host):
    assert dict(link(driver, saved[0], host=host).headers)["location"].startswith(f"http://{host}/api/v1/archives/")


def test_changes_are_written_down_by_day(driver, saved):
    model, path = saved
    driver.good(f"training_runs/{model}/checkpoints/weights/c1/publish", None)
    driver.now += 86400
    driver.good(f"training_runs/{model}/checkpoints/weights/c1/ttl", {"ttl_seconds": 3600}, "PUT")
    events = [entry["event"] for entry in driver.get("audit?day=2027-01-15&event_type=checkpoints")["entries"]]
    assert events == ["checkpoint.save", "checkpoint.publish"]
    (today,) = driver.get("audit")["entries"]
    assert today["event"] == "checkpoint.ttl"
    assert today["event_details"] == {"ttl_seconds": 3600}
    assert (today["model_id"], today["tinker_path"]) == (model, path)
    assert driver.get("audit?event_type=teams")["entries"] == []
    for query in ("event_type=all_of_it", "day=yesterday"):
        assert driver.call(f"audit?{query}", None, "GET")[0] == 422
