"""The real client on a server that misbehaves: every loss, every weight and every sample as if nothing had happened."""

from __future__ import annotations

import threading

import pytest

import tinker_actors as ta
from tinker_actors.events import SessionLost
from tinker_actors.protocol.session_life import LossPolicy

HANG = 60.0

SURVIVABLE = {
    "delay": {"kind": "delay", "seconds": 0.02},
    "408": {"status": 408},
    "409": {"status": 409},
    "429": {"status": 429, "retry_after": 0.05},
    "500": {"status": 500},
    "502 page": {"status": 502, "html": True},
    "503": {"status": 503, "retry_after": 0.05},
    "reset before": {"kind": "reset_before"},
    "reset in the middle": {"kind": "reset_middle"},
    "reset after": {"kind": "reset_after"},
    "reply lost": {"kind": "reply_lost"},
    "truncated": {"kind": "truncated"},
    "corrupted": {"kind": "corrupted"},
    "duplicated": {"kind": "duplicated"},
    "paused": {"kind": "paused_capacity", "reason": "The cluster is full."},
    # In all, less than the 300 s without a heartbeat after which a session is rightly lost.
    "clock": {"kind": "clock_skew", "seconds": 40.0, "times": 6},
}


ENDPOINTS = (
    "create_session", "create_model", "forward_backward", "optim_step", "save_weights_for_sampler", "asample",
    "create_sampling_session", "retrieve_future", "retrieve_futures", "session_heartbeat",
)  # fmt: skip


@pytest.mark.parametrize("fault", SURVIVABLE)
def test_a_run_in_which_every_fourth_request_is_struck_gives_what_an_undisturbed_one_gives(
    server, program, undisturbed, fault
):
    if fault == "corrupted":
        # What says nothing is asked for three times more, and the fourth in a row rightly is the end of it.
        for endpoint in ENDPOINTS:
            server.faults.add(endpoint, every=2, times=3, name=endpoint, **SURVIVABLE[fault])
    else:
        server.faults.add("*", every=4, name="it", **SURVIVABLE[fault])
    with program(server.url) as disturbed:
        assert (disturbed.train(), disturbed.sample()) == undisturbed
    assert sum(rule.struck for rule in server.faults.counts().values()) >= 1


@pytest.mark.parametrize("endpoint", ["forward_backward", "optim_step", "save_weights_for_sampler", "asample"])
@pytest.mark.parametrize("kind", ["reply_lost", "reset_middle", "truncated", "corrupted", "duplicated"])
def test_what_was_done_and_not_answered_is_done_once(server, program, undisturbed, endpoint, kind):
    server.faults.add(endpoint, kind, times=1, name="it")
    with program(server.url) as disturbed:
        trained, sampled = disturbed.train(), disturbed.sample()
    assert server.faults.counts()["it"].struck == 1
    assert (trained, sampled) == undisturbed
    assert trained[-1]["steps:max"] == 3
    assert trained[-1]["weights:unique"] == undisturbed[0][-1]["weights:unique"]


def test_an_undisturbed_run_really_depends_on_what_is_applied(server, program, undisturbed):
    with program(server.url) as other:
        other.trainer.optim_step().result(HANG)
        assert other.train()[-1]["weights:unique"] != undisturbed[0][-1]["weights:unique"]


@pytest.mark.parametrize("endpoint", ["forward_backward", "optim_step", "retrieve_future", "asample"])
@pytest.mark.parametrize("fault", [{"kind": "corrupted"}, {"status": 200, "html": True}], ids=["corrupted", "page"])
def test_an_answer_that_says_nothing_is_never_taken_for_a_result(server, program, undisturbed, endpoint, fault):
    server.faults.add(endpoint, times=1, name="it", **fault)
    with program(server.url) as disturbed:
        try:
            assert (disturbed.train(), disturbed.sample()) == undisturbed
        except ta.APIResponseValidationError as error:
            assert error.outcome == "unknown"  # noqa: PT017 - a client may as well ask again, and succeed
    assert server.faults.counts()["it"].struck == 1


def test_a_sample_whose_result_is_evicted_is_drawn_again(server, program, undisturbed):
    server.faults.add("retrieve_future", "evicted", of="sample", times=3, name="it")
    with program(server.url) as disturbed:
        assert (disturbed.train(), disturbed.sample()) == undisturbed
    assert server.faults.counts()["it"].struck == 3


def test_a_step_whose_result_is_evicted_is_not_repeated_and_says_so(server, program):
    server.faults.add("retrieve_future", "evicted", of="optim_step", times=1)
    with program(server.url) as disturbed:
        gradient, step = disturbed.step(0)
        assert gradient.result(HANG)
        with pytest.raises(ta.OutcomeUnknownError) as error:
            step.result(HANG)
        assert error.value.outcome == "unknown"
        assert disturbed.step(1)[1].result(HANG).metrics["steps:max"] == 2


@pytest.mark.parametrize("endpoint", ["create_model", "forward_backward", "optim_step", "asample", "retrieve_future"])
@pytest.mark.parametrize("status", [404, 410])
def test_a_lost_session_fails_what_belongs_to_it_and_is_announced(server, program, endpoint, status):
    with program(server.url) as disturbed:
        lost = threading.Event()
        disturbed.service.events.subscribe(lambda _: lost.set(), SessionLost)
        disturbed.trainer.result(HANG)  # or its creation might be over before the fault is there
        server.faults.add(endpoint, "session_lost", status=status, times=1)
        with pytest.raises(ta.SessionLostError) as error:
            disturbed.service.create_lora_training_client("local/ledger").result(HANG)
            disturbed.train(), disturbed.sample()
        assert lost.wait(HANG)
        assert "create_training_client_from_state_with_optimizer" in error.value.advice


@pytest.mark.parametrize("status", [404, 410])
def test_a_heartbeat_answered_with_gone_after_two_steps_ends_the_session(server, program, status):
    server.faults.add("session_heartbeat", status=status, after_step=2)
    with program(server.url, heartbeat_interval=0.02) as disturbed:
        lost = threading.Event()
        disturbed.service.events.subscribe(lambda _: lost.set(), SessionLost)
        assert disturbed.step(0)[1].result(HANG).metrics["steps:max"] == 1
        second = disturbed.step(1)[1]
        assert lost.wait(HANG)
        # From when it is applied no heartbeat is answered well, and one may come before its result was asked for.
        assert isinstance(second.exception(HANG), ta.SessionLostError | None)
        with pytest.raises(ta.SessionLostError):
            disturbed.step(2)[1].result(HANG)


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_only_seems_lost_is_held_by_such_a_policy_and_loses_nothing(
    server, program, undisturbed, status
):
    losses = []
    with program(server.url, LossPolicy(patience=HANG), heartbeat_interval=0.05) as disturbed:
        disturbed.service.events.subscribe(losses.append, SessionLost)
        disturbed.trainer.result(HANG)
        for name in ("forward_backward", "optim_step", "asample", "retrieve_future"):
            server.faults.add(name, "delay", seconds=0.1)  # so that it is lost with something under way
        server.faults.add("session_heartbeat", status=status, every=4)
        assert (disturbed.train(), disturbed.sample()) == undisturbed
    assert len(losses) > 1


@pytest.mark.parametrize("kind", ["paused_rate_limit", "paused_capacity"])
@pytest.mark.parametrize("status", [200, 408])
def test_a_pause_shows_in_progress_with_its_reason(server, program, kind, status):
    said = "Three training clients is the limit."
    server.faults.add("retrieve_future", kind, of="optim_step", reason=said, status=status)
    with program(server.url) as paused:
        step = paused.step(0)[1]
        pause = threading.Event()
        while (progress := step.progress()).reason != "paused by the server":
            assert not step.done()
            pause.wait(0.01)
        assert progress.detail == said
        server.faults.clear()
        assert step.result(HANG).metrics["steps:max"] == 1
