"""Restarts: what was live is lost and says so; what was finished can be read, by its id and by its number."""

from __future__ import annotations

import pytest

from tinker_actors.local.core import Limits
from tinker_actors.local.core.keeping import FutureRecord
from tinker_actors.local.store.memory import MemoryStore


@pytest.fixture
def restarted(make_driver):
    """Returns a new core on the store of an earlier one."""

    def restart(driver):
        again = make_driver(store=driver.store, ids="other")
        again.now = driver.now
        return again

    return restart


def test_finished_futures_are_read_as_before(driver, restarted, bodies):
    model = driver.model()
    good = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    bad = driver.submit("forward_backward", bodies.forward_backward(model, 2, bodies.datum([10**6])))
    refused = driver.submit("optim_step", bodies.optim_step(model, 3))
    drawn = driver.submit("asample", bodies.sample(driver.sampler()))
    driver.work()
    before = [driver.poll(one).body for one in (good, bad, refused, drawn)]
    again = restarted(restarted(driver))
    for _ in range(2):
        assert [again.poll(one).body for one in (good, bad, refused, drawn)] == before
    assert len(again.core.state.futures) == 0, "what is only read is not held"
    assert again.good("cancel_future", {"request_id": drawn})["cancelled"] is False


def test_what_was_pending_is_lost(driver, restarted, bodies):
    model = driver.model()
    pending = driver.submit("optim_step", bodies.optim_step(model, 1))
    sample = driver.submit("asample", bodies.sample(driver.sampler()))
    running = driver.core.next_job("sample")
    again = restarted(driver)
    for request_id in (pending, sample):
        answer = again.poll(request_id)
        assert answer.status == 410
        assert b"restarted" in answer.body
    assert running is not None
    assert again.poll("r0.x-1").status == again.poll("r1.1-guess").status == again.poll("r2.1-guess").status == 404


def test_a_request_sent_again_after_a_restart_is_told_what_became_of_it(driver, restarted, bodies):
    model = driver.model()
    done, pending = bodies.forward_backward(model, 1), bodies.optim_step(model, 3)
    request_id = driver.submit("forward_backward", done)
    driver.submit("optim_step", pending)
    driver.work()
    again = restarted(driver)
    assert again.good("forward_backward", done) == {"request_id": request_id, "model_id": model}
    assert again.result(request_id)["type"] == "forward_backward"
    another = bodies.forward_backward(model, 1, bodies.datum([7]))
    new = bodies.forward_backward(model, 2)
    for path, body in (("forward_backward", another), ("forward_backward", new), ("optim_step", pending)):
        assert again.call(path, body)[0] == 410
    assert again.work() == 0


def test_the_same_holds_for_a_session_that_expired(driver, bodies):
    model = driver.model()
    body = bodies.optim_step(model, 1)
    request_id = driver.submit("optim_step", body)
    driver.work()
    driver.now += 301
    driver.core.tick(driver.now)
    assert driver.submit("optim_step", body) == request_id
    assert driver.call("optim_step", bodies.optim_step(model, 2))[0] == 410


def test_a_result_dropped_from_memory_is_read_from_the_store(make_driver, bodies):
    driver = make_driver(Limits(result_bytes=1))
    model = driver.model()
    first, second = (driver.submit("optim_step", bodies.optim_step(model, number)) for number in (1, 2))
    driver.work()
    assert len(driver.core.state.futures) == 1
    assert driver.result(first)["metrics"]["steps:max"] == 1
    assert driver.result(second)["metrics"]["steps:max"] == 2


def test_a_result_dropped_on_purpose_is_gone_from_the_store_too(driver, bodies):
    model = driver.model()
    request_id = driver.submit("optim_step", bodies.optim_step(model, 1))
    driver.work()
    driver.core.state.futures.drop(request_id, "dropped")
    assert driver.poll(request_id).status == 410


def test_a_training_result_is_on_disk_before_anybody_hears_of_it(driver, bodies):
    model = driver.model()
    request_id = driver.submit("optim_step", bodies.optim_step(model, 1))
    job = driver.core.next_job("train")
    result = job.run()
    assert driver.store.find_future(request_id).body == result.body
    assert driver.store.find_number(model, 1).request_id == request_id
    driver.core.finish(job, result, driver.now)
    assert driver.result(request_id)["type"] == "optim_step"


class FullStore(MemoryStore):
    """A store whose disk is full."""

    def keep_future(self, record: FutureRecord) -> None:
        raise OSError(28, "No space left on device")

    def note_future(self, record: FutureRecord) -> None:
        """Leave it."""


def test_a_result_that_can_not_be_kept_is_answered_all_the_same(make_driver, bodies, caplog):
    driver = make_driver(store=FullStore())
    model = driver.model()
    request_id = driver.submit("optim_step", bodies.optim_step(model, 1))
    driver.work()
    assert driver.result(request_id)["type"] == "optim_step"
    assert "could not be kept" in caplog.text


def test_a_checkpoint_knows_its_adapter_config_and_can_be_loaded_after_a_restart(driver, restarted):
    model = driver.model()
    request_id = driver.submit("save_weights", {"model_id": model, "seq_id": 1, "path": "a"})
    driver.work()
    path = driver.result(request_id)["path"]
    assert driver.store.read(path).adapter_config == {"peft_type": "LEDGER"}
    again = restarted(driver)
    body = {"session_id": again.session(), "model_seq_id": 0, "path": path, "optimizer": True}
    loaded = again.submit("load_weights", body)
    again.work()
    assert again.result(loaded)["path"] == path
