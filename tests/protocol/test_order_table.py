"""The table of failures: what becomes of what is called before and after a gradient fails, cell by cell.

what happened                        called before it was told    called afterwards
-----------------------------------  ---------------------------  -----------------------------------------------
refused whole, its step not called   fails                        goes on; earlier gradients of the step count
refused whole, its step called       fails                        goes on where nothing stayed; else discarded, or
                                                                  tainted where the server can't
applied in part                      fails                        as in the row above
"""

from __future__ import annotations

import pytest

from .test_order import ERROR, Play

STEPS = ["not called", "called", "applied", "failed", "unknown", "refused"]


def outcome(play, name):
    """Call an operation and return the verdict on it, once the server has discarded what it is to discard."""
    play.call(name)
    found, _ = play.order.admit(play.called[play.queue[0]], play.queue[0])
    play.queue.pop()
    return found


def expected(*, whole, earlier, step, discards):
    """Return what the table says of a gradient or step that is called afterwards."""
    if step == "not called":
        stayed = not whole
    elif step == "refused":
        return "send"  # which discards
    else:
        stayed = earlier or not whole
    if not stayed:
        return "send"
    if step in ("applied", "unknown"):
        return "tainted"  # what is in the weights can't be discarded
    return "discard" if discards else "tainted"


@pytest.mark.parametrize("discards", [True, False], ids=["discards", "applies"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("earlier", [True, False], ids=["earlier gradients", "none before"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in part"])
@pytest.mark.parametrize("told", ["before the end is known", "afterwards"])
def test_the_table(whole, earlier, step, discards, told):
    play = Play(discards=discards)
    play.tell("grad " * earlier + "grad" + " step" * (step not in ("not called", "called")))
    gradient = earlier + 1
    play.begins_to_fail(gradient)
    if step != "not called":
        for name in ("step", "grad", "save", "load"):
            assert outcome(play, name) == "ignorant", "it was called before it was told"
    if told != "afterwards":
        play.told(gradient)
    play.order.gradient_ended(gradient, ERROR, stayed=not whole)
    if play.order._steps:
        play._ended(gradient + 1, step)
    play.over()
    if told == "afterwards":
        play.told(gradient)
    wanted = expected(whole=whole, earlier=earlier, step=step, discards=discards)
    for name in ("save", "grad", "step", "save"):
        found = outcome(play, name)
        assert found == (wanted if name in ("grad", "step") else "send"), name
        if found == "discard":
            play.discarded()
            wanted = "send"


@pytest.mark.parametrize("way_out", ["acknowledged", "restored"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in part"])
def test_each_way_out_leads_out_of_each_of_them(whole, step, way_out):
    play = Play(discards=False)
    play.tell("grad grad" + " step" * (step not in ("not called", "called")))
    play.begins_to_fail(2)
    if step == "called":
        play.tell("step=ignorant")
    play.told(2)
    play.order.gradient_ended(2, ERROR, stayed=not whole)
    if play.order._steps:
        play._ended(3, step)
    play.over()
    if way_out == "acknowledged":
        play.acknowledged()
    else:
        play.say("load")
        play.loaded(play.order.calls)
    play.tell("grad step")
    assert play.order.state == "clean"
