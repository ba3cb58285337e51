"""What is said of what goes on for long."""

from __future__ import annotations

from typing import get_args

from tinker_actors.protocol.limits.remarks import LONG, OFTEN, WAITING_FOR_WEIGHTS, Outages, Rarely, Waiting
from tinker_actors.runtime.progress import WaitReason

REFUSED = "sample got no answer: Connection refused"


def test_an_outage_is_told_once_when_it_lasts_and_once_when_it_is_over():
    outages = Outages()
    assert not outages.look(0, "", None)
    assert not outages.look(5, REFUSED, None)
    ((level, text),) = outages.look(5 + LONG, REFUSED, None)
    assert (level, text) == ("warning", f"does not answer; what is under way waits for it: {REFUSED}")
    assert not outages.look(100, "something else", None)
    ((level, text),) = outages.look(125, "", None)
    assert (level, text) == ("info", "answers again, after 120 s")
    assert not outages.look(130, "", None)


def test_a_mishap_that_is_soon_over_is_no_outage():
    outages = Outages()
    for second in range(0, 1000, 10):
        assert not outages.look(second, REFUSED, None)
        assert not outages.look(second + 5, "", None)


def test_a_pause_is_told_with_its_reason_and_its_end():
    outages = Outages()
    assert outages.look(10, "", (9, "the account's limit")) == [
        ("info", "keeps operations waiting: the account's limit")
    ]
    for second in range(15, 100, 5):
        assert not outages.look(second, "", (second - 1, "the account's limit"))
    assert not outages.look(100, "", (94, ""))
    assert outages.look(105, "", (94, "")) == [("info", "goes on, after a pause of 85 s")]
    assert not outages.look(200, "", (94, ""))
    assert outages.look(300, "", (299, "")) == [("info", "keeps operations waiting")]


def test_what_happens_often_is_told_now_and_then_with_its_count():
    rarely = Rarely()
    assert rarely.left_out(0) == 0
    assert [rarely.left_out(second) for second in range(1, 11)] == [None] * 10
    assert rarely.left_out(OFTEN) == 10
    assert rarely.left_out(OFTEN + 1) is None
    assert rarely.left_out(3 * OFTEN) == 1
    assert rarely.left_out(9 * OFTEN) == 0


def test_a_wait_for_weights_is_told_once_when_it_lasts():
    waiting = Waiting()
    newer = "waiting for newer weights"
    assert set(get_args(WaitReason)) >= WAITING_FOR_WEIGHTS
    assert not waiting.look(0, [])
    assert not waiting.look(5, [(newer, 1)])
    ((level, text),) = waiting.look(1 + LONG, [(newer, 3), (newer, 1), ("waiting for publish()", 4)])
    assert level == "warning"
    assert text.startswith("3 samples wait, one of them for 10 s, for newer weights of their policy")
    assert "max_lag" in text
    assert not waiting.look(20, [(newer, 1)])
    assert not waiting.look(25, [])
    assert not waiting.look(100, [(newer, 50)]), "once an hour is enough"
    assert not waiting.look(105, [])
    ((_, text),) = waiting.look(105 + OFTEN, [("waiting for publish()", 100)])
    assert text.startswith(f"1 sample waits, one of them for {5 + OFTEN:.0f} s, for the first weights")
