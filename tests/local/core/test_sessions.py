"""Sessions: they beat, end, expire; what belonged to them is gone, and says so."""

from __future__ import annotations

import asyncio

import pytest

from tinker_actors.local.core import Limits
from tinker_actors.local.http.app import App


def beat(driver, session):
    return driver.call("session_heartbeat", {"session_id": session, "type": "session_heartbeat"})


def test_ids_have_the_official_form(driver):
    session = driver.session()
    assert driver.model(session, 5) == f"{session}:train:5"
    assert driver.sampler(session, 2) == f"{session}:sample:2"


def test_heartbeats_keep_a_session_alive(driver):
    session = driver.session()
    for _ in range(5):
        driver.now += 299
        driver.core.tick(driver.now)
        assert beat(driver, session)[0] == 200


def test_a_session_without_heartbeats_is_gone_with_all_that_it_had(make_driver, bodies):
    driver = make_driver(Limits(session_seconds=300))
    session = driver.session()
    model, sampler = driver.model(session), driver.sampler(session)
    finished = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    driver.work()
    waiting = driver.submit("optim_step", bodies.optim_step(model, 2))
    drawing = driver.submit("asample", bodies.sample(sampler))
    driver.now += 300
    assert driver.core.tick(driver.now) == {waiting, drawing}
    assert driver.work() == 0
    for path, body in (
        ("session_heartbeat", {"session_id": session}),
        ("optim_step", bodies.optim_step(model, 3)),
        ("get_info", {"model_id": model}),
        ("asample", bodies.sample(sampler, 1)),
        ("create_sampling_session", {"session_id": session, "sampling_session_seq_id": 9, "base_model": "x"}),
    ):
        status, said = driver.call(path, body)
        assert status == 410, path
        assert "no heartbeat" in said["detail"]
    assert driver.call(f"samplers/{sampler}", method="GET")[0] == 410
    assert driver.poll(waiting).status == 410
    assert driver.result(finished)["type"] == "forward_backward", "what was finished stays readable"


@pytest.mark.parametrize(("late", "status"), [(299.9, 200), (300, 410), (300.9, 410)])
def test_a_heartbeat_does_not_revive_a_session_whose_time_is_over(make_driver, late, status):
    driver = make_driver(Limits(session_seconds=300))
    session = driver.session()
    began = driver.now
    driver.now = began + 299.5  # the next look is a second later
    driver.core.tick(driver.now)
    driver.now = began + late
    assert beat(driver, session)[0] == status
    assert beat(driver, session)[0] == status


def test_a_server_that_stood_still_ends_no_session_for_it(make_driver, bodies):
    driver = make_driver(Limits(session_seconds=300, gap_seconds=60))
    session = driver.session()
    model = driver.model(session)
    waiting = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.core.tick(driver.now)
    driver.now += 3600
    driver.core.stood_still(3600)
    driver.core.tick(driver.now)
    assert beat(driver, session)[0] == 200
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    driver.work()
    assert driver.result(waiting)["metrics"]["steps:max"] == 1
    driver.now += 300
    driver.core.tick(driver.now)
    assert beat(driver, session)[0] == 410


def test_the_application_notices_that_it_stood_still(make_driver):
    driver = make_driver(Limits(session_seconds=300))
    session = driver.session()

    async def an_hour_in_one_tick():
        loop, app = asyncio.get_running_loop(), App(driver.core)
        real, ahead = loop.time, [0.0]
        loop.time = lambda: real() + ahead[0]
        app.clock_offset = driver.now - loop.time()
        ticked, pass_time = asyncio.Event(), app._pass_time
        app._pass_time = lambda: (pass_time(), ticked.set())
        ticking = asyncio.create_task(app._tick())
        await asyncio.sleep(0)
        ahead[0] = 3600.0
        await ticked.wait()
        ticking.cancel()

    asyncio.run(asyncio.wait_for(an_hour_in_one_tick(), 7200))
    driver.now += 3600
    assert beat(driver, session)[0] == 200


def test_a_job_that_outlives_its_session_harms_nothing(driver, bodies):
    session = driver.session()
    model = driver.model(session)
    request_id = driver.submit(
        "save_weights_for_sampler", {"model_id": model, "seq_id": 1, "sampling_session_seq_id": 0}
    )
    job = driver.core.next_job("train")
    driver.now += 301
    driver.core.tick(driver.now)
    assert driver.core.finish(job, job.run(), driver.now) == set()
    assert driver.poll(request_id).status == 410
    assert driver.work() == 0


def test_a_finished_session_is_gone_and_finishing_again_is_fine(driver):
    session = driver.session()
    body = {"reason": {"type": "success"}, "detail": None}
    assert driver.call(f"sessions/{session}/finish", body)[0] == 200
    assert driver.call(f"sessions/{session}/finish", {"reason": {"type": "errored"}, "detail": "x"})[0] == 200
    status, said = beat(driver, session)
    assert status == 410
    assert "success" in said["detail"]
    assert driver.core.tick(driver.now + 1000) == set()


def test_what_never_was_is_404(driver, bodies):
    assert beat(driver, "session-x")[0] == 404
    assert driver.call("sessions/session-x/finish", {})[0] == 404
    session = driver.session()
    for path, body in (
        ("optim_step", bodies.optim_step(f"{session}:train:0", 1)),
        ("get_info", {"model_id": "nonsense"}),
        ("asample", bodies.sample(f"{session}:sample:0")),
        ("create_model", {"session_id": "no", "model_seq_id": 0, "base_model": "local/ledger"}),
    ):
        assert driver.call(path, body)[0] == 404, path


def test_after_a_restart_earlier_sessions_are_gone_not_unknown(driver, make_driver, bodies):
    session = driver.session()
    model = driver.model(session)
    restarted = make_driver(store=driver.store, ids="other")
    status, said = beat(restarted, session)
    assert status == 410
    assert "restarted" in said["detail"]
    assert restarted.call("optim_step", bodies.optim_step(model, 1))[0] == 410
    assert beat(restarted, "session-never")[0] == 404


def test_an_unloaded_model_is_gone_and_what_waited_behind_it_is_lost(driver, bodies):
    model = driver.model()
    done = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    early = driver.submit("optim_step", bodies.optim_step(model, 3))
    unload = driver.submit("unload_model", {"model_id": model})
    driver.work()
    assert driver.result(done)["type"] == "forward_backward"
    assert driver.result(unload)["model_id"] == model
    assert driver.poll(early).status == 410
    assert driver.call("get_info", {"model_id": model})[0] == 410


@pytest.mark.parametrize("fields", [{}, {"lora_config": None}, {"lora_config": {"rank": 4, "seed": None}}])
def test_a_model_without_a_seed_gets_one_that_is_kept_with_its_checkpoints(driver, fields):
    model = driver.model(**{"lora_config": None, **fields})
    request_id = driver.submit("save_weights", {"model_id": model, "seq_id": 1, "path": "a"})
    driver.work()
    assert driver.store.find(driver.result(request_id)["path"]).lora.seed is not None


def test_a_session_that_the_disk_does_not_take_has_never_been(driver, monkeypatch):
    def full(_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(driver.store, "put_session", full)
        with pytest.raises(OSError, match="No space"):
            driver.session()
    assert driver.get("sessions")["sessions"] == []
    made = driver.session()
    assert driver.get("sessions")["sessions"] == [made]
