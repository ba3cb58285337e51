"""A program saves before it gives up: `acknowledge_failure()` and `save_state`, wherever it stands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import tinker_actors as ta

from .applying_server import FAILS, Applying
from .conftest import HANG
from .helpers import bad_datum, datum

pytestmark = pytest.mark.slow


def rescued(trainer, name="rescue"):
    trainer.acknowledge_failure()
    return trainer.save_state(name).result(HANG).path


def test_when_the_failure_was_raised(trainer):
    with pytest.raises(ta.TinkerError):
        trainer.step([bad_datum()], "cross_entropy").result(HANG)
    assert rescued(trainer)


def test_when_it_is_there_and_nobody_looked(trainer):
    trainer.step([bad_datum()], "cross_entropy")
    trainer.barrier(HANG)
    assert rescued(trainer)


@pytest.mark.parametrize("queued", [1, 20])
def test_when_it_is_under_way(trainer, queued):
    steps = [trainer.step([datum(), bad_datum()], "cross_entropy") for _ in range(queued)]
    assert rescued(trainer)
    assert all(isinstance(step.exception(HANG), ta.TinkerError) for step in steps)


def test_when_others_fail_later_than_the_one_that_was_raised(trainer):
    first = trainer.forward_backward([bad_datum()], "cross_entropy")
    with pytest.raises(ta.TinkerError):
        first.result(HANG)
    trainer.step([bad_datum()], "cross_entropy")
    assert rescued(trainer)


def test_in_a_handler_that_interrupts_result(trainer):
    """And the interrupted call goes on."""
    paths = []
    trainer.result(HANG)

    def handler(*_):
        paths.append(rescued(trainer))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        steps = [trainer.step([datum("hello world " * 20)] * 20, "cross_entropy") for _ in range(4)]
        steps.append(trainer.step([bad_datum()], "cross_entropy"))
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        error = steps[-1].exception(HANG)
        while not paths:
            signal.pause()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert isinstance(error, ta.TinkerError)
    assert len(paths) == 1
    assert all(step.exception(HANG) is None for step in steps[:-1])


JOB = """
import signal, sys
import tinker_actors as ta
good = ta.Datum(ta.ModelInput.from_ints([1, 2] * 200), {"target_tokens": [2, 3] * 200})
bad = ta.Datum(ta.ModelInput.from_ints([100_000]), {"target_tokens": [5]})
with ta.ServiceClient(base_url=sys.argv[1]) as service:
    trainer = service.create_lora_training_client("local/tiny", rank=4).result()

    def end(*_):
        trainer.acknowledge_failure()
        print(trainer.save_state("rescue").result(60).path, flush=True)
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)
    for _ in range(3):
        trainer.step([good] * 10, "cross_entropy")
        last = trainer.step([bad], "cross_entropy")
    print("ready", flush=True)
    last.exception()
    signal.pause()
"""


def test_a_job_that_is_told_to_end(server):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", JOB, server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as job:
        assert job.stdout.readline().strip() == "ready"
        job.send_signal(signal.SIGTERM)
        out, _ = job.communicate(timeout=HANG)
    assert out.startswith("tinker://")
    assert job.returncode == 143


@pytest.mark.parametrize("known", [True, False])
def test_on_a_server_that_cant_discard(known):
    """Gradients stayed there; what was acknowledged counts, and the next steps go on."""
    with Applying() as server:
        service = ta.ServiceClient(config=ta.Config(base_url=server.url, api_key="tml-x", max_chunk_len=1))
        trainer = service.create_lora_training_client("some/model", rank=4).result(HANG)
        if not known:
            server.may_answer.clear()
        data = [ta.Datum(ta.ModelInput.from_ints([first, 5]), {"target_tokens": [5, 6]}) for first in (1, FAILS)]
        failed = trainer.forward_backward(data, "cross_entropy")
        if known:
            assert failed.exception(HANG) is not None
            assert isinstance(trainer.optim_step().exception(HANG), ta.StepTaintedError)
        trainer.acknowledge_failure()
        rescue = trainer.save_state("rescue")
        gradient, step = trainer.forward_backward(data[:1], "cross_entropy"), trainer.optim_step()
        server.may_answer.set()
        assert rescue.result(HANG).path
        assert gradient.exception(HANG) is None
        assert step.exception(HANG) is None
        assert server.steps == [[1, 1]]
        service.close(timeout=0)


def test_when_the_session_is_lost_the_error_says_so_and_how_to_go_on():
    with ta.local_server() as own, ta.ServiceClient(base_url=own.url) as service:
        trainer = service.create_lora_training_client("local/tiny", rank=4)
        trainer.forward_backward([bad_datum()], "cross_entropy").exception(HANG)
        own.faults.add("*", "session_lost", times=1)
        for _ in range(2):
            with pytest.raises(ta.SessionLostError, match="resume from the last checkpoint"):
                rescued(trainer)


def test_when_the_service_is_closed(server):
    service = ta.ServiceClient(base_url=server.url)
    trainer = service.create_lora_training_client("local/tiny", rank=4)
    service.close(timeout=0)
    with pytest.raises(ta.ClientClosedError):
        rescued(trainer)
