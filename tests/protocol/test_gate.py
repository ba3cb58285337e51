"""The gate: every way in which a failed gradient can meet the operations behind it."""

from __future__ import annotations

import pytest

from tinker_actors.errors import PrecedingOperationFailed, RequestFailedError, StepTaintedError, TinkerError
from tinker_actors.protocol import operations
from tinker_actors.protocol.gate import StepGate, preceded
from tinker_actors.protocol.operations import Operation

OPERATIONS = {
    "grad": Operation("forward_backward", (), gradient=True),
    "step": Operation("optim_step", (), step=True),
    "forward": Operation("forward", ()),
    "save": Operation("save_state", ()),
    "load": Operation("load_state", (), restores=True),
}

# What `gradient_failed` is told: the server failed it; refused it, so that it never knew; may have done a part of it.
FAILURES = {
    "failed": {"server_knows": True, "step_sent": False, "partly": False},
    "refused": {"server_knows": False, "step_sent": False, "partly": False},
    "partly": {"server_knows": True, "step_sent": False, "partly": True},
    "unknown": {"server_knows": False, "step_sent": False, "partly": True},
    "failed-behind-step": {"server_knows": True, "step_sent": True, "partly": False},
    "refused-behind-step": {"server_knows": False, "step_sent": True, "partly": False},
}

ERROR = RequestFailedError("the cause")
ANSWERS = {type(None): "", PrecedingOperationFailed: "preceded", StepTaintedError: "tainted"}


def play(gate, story):
    """Play a story of words; `word=answer` says how an operation fares, a bare operation is sent."""
    for word in story.split():
        name, _, expected = word.partition("=")
        if name in OPERATIONS:
            error = gate.admit(OPERATIONS[name])
            assert ANSWERS[type(error)] == expected, word
            if error is not None:
                assert error.outcome == "not_applied"
                assert OPERATIONS[name].name in str(error)
        elif name in FAILURES:
            gate.gradient_failed(ERROR, **FAILURES[name])
        elif name in ("loaded", "acknowledged"):
            gate.clear()
        else:
            assert name == "applied-behind"
            gate.taint(ERROR)


STORIES = [
    # Nothing fails.
    ("grad step grad grad step save forward load", "any", "clean"),
    # A gradient fails before its step is sent; it was the only one, so nothing is left of the step.
    ("grad failed", "any", "failed"),
    ("grad refused", "any", "failed"),
    ("grad failed step=preceded grad step", "applies", "clean"),
    ("grad refused step=preceded grad step", "any", "clean"),
    # The embedded server knows of the failure, and refuses the step itself.
    ("grad failed step", "refuses", "clean"),
    ("grad failed step grad step", "refuses", "clean"),
    ("grad grad failed step", "refuses", "clean"),
    ("grad partly step", "refuses", "clean"),
    # It does not know of what it refused to accept.
    ("grad grad refused step=preceded", "any", "tainted"),
    ("grad grad refused failed step", "refuses", "clean"),
    ("grad grad failed refused step", "refuses", "clean"),
    # Everything up to the step is kept back, the step included; then a new one begins.
    ("grad failed grad=preceded forward=preceded save=preceded step=preceded grad save step", "applies", "clean"),
    ("grad failed grad=preceded step grad step", "refuses", "clean"),
    # Other gradients of the step stay on a server that applies everything.
    ("grad grad failed step=preceded", "applies", "tainted"),
    ("grad grad grad failed failed step=preceded", "applies", "tainted"),
    ("grad grad failed grad=preceded step=preceded grad=tainted step=tainted save=tainted", "applies", "tainted"),
    # All gradients of the step failed: nothing is left.
    ("grad grad failed failed step=preceded grad step", "applies", "clean"),
    ("grad grad refused refused step=preceded grad step", "any", "clean"),
    # A part of the only one may be there.
    ("grad partly step=preceded", "applies", "tainted"),
    ("grad unknown step=preceded grad=tainted", "any", "tainted"),
    ("grad grad failed unknown step=preceded", "applies", "tainted"),
    # Gradients of earlier steps don't count.
    ("grad grad step grad failed step=preceded grad step", "applies", "clean"),
    ("grad failed step=preceded grad failed step=preceded grad step", "applies", "clean"),
    # The step was sent already.
    ("grad step failed-behind-step grad step", "refuses", "clean"),
    ("grad step failed-behind-step grad=tainted step=tainted", "applies", "tainted"),
    ("grad step refused-behind-step grad=tainted", "any", "tainted"),
    ("grad step grad failed failed-behind-step step=tainted", "applies", "tainted"),
    # Its answer said that it was applied.
    ("grad step applied-behind grad=tainted", "any", "tainted"),
    # Failures behind the taint change nothing.
    ("grad step grad applied-behind failed step=tainted", "any", "tainted"),
    # A load is always sent; only its success clears.
    ("grad failed load grad=preceded", "any", "failed"),
    ("grad failed load loaded grad step", "any", "clean"),
    ("grad step applied-behind load grad=tainted loaded grad step", "any", "clean"),
    ("grad grad failed loaded grad failed step=preceded grad step", "applies", "clean"),
    ("grad unknown loaded grad failed step=preceded grad step", "applies", "clean"),
    # So does a person's decision.
    ("grad failed acknowledged step", "any", "clean"),
    ("grad step applied-behind acknowledged grad step", "any", "clean"),
    ("grad failed acknowledged grad refused step=preceded", "refuses", "clean"),
    ("acknowledged grad step", "any", "clean"),
]


def servers(which):
    return {"any": [True, False], "refuses": [True], "applies": [False]}[which]


@pytest.mark.parametrize(
    ("story", "refuses", "state"),
    [(story, refuses, state) for story, which, state in STORIES for refuses in servers(which)],
)
def test_the_gates_stories(story, refuses, state):
    gate = StepGate(server_refuses=refuses)
    play(gate, story)
    assert gate.state == state


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("failure", [*FAILURES, "applied-behind"])
def test_a_gate_that_does_not_stop_sends_everything(failure, refuses):
    gate = StepGate(stop=False, server_refuses=refuses)
    play(gate, f"grad grad {failure} grad step {failure} grad save load step")
    assert gate.state == "clean"


def test_what_the_server_does_can_be_found_out_later():
    gate = StepGate()
    play(gate, "grad failed")
    gate.server_refuses = True
    play(gate, "step grad step")
    assert gate.state == "clean"


def test_the_errors_name_the_first_cause():
    gate = StepGate()
    play(gate, "grad grad")
    gate.gradient_failed(ERROR, server_knows=True, step_sent=False, partly=False)
    gate.gradient_failed(RequestFailedError("a later one"), server_knows=True, step_sent=False, partly=True)
    kept_back, step = gate.admit(OPERATIONS["grad"]), gate.admit(OPERATIONS["step"])
    for error in (kept_back, step):
        assert isinstance(error, PrecedingOperationFailed)
        assert error.preceding is ERROR
        assert "the cause" in str(error)
    assert gate.state == "tainted"
    gate.gradient_failed(RequestFailedError("much later"), server_knows=False, step_sent=True, partly=False)
    stopped = gate.admit(OPERATIONS["step"])
    assert isinstance(stopped, StepTaintedError)
    assert stopped.preceding is ERROR
    assert "acknowledge_failure" in str(stopped)


KEPT_BACK = [
    # What was sent of the step before, what is kept back because of something else, and what follows.
    ("", "forward save load", "grad step", "clean"),
    ("", "grad", "grad=preceded step=preceded grad step", "clean"),
    ("", "grad step grad step", "grad step", "clean"),
    ("grad", "save", "step grad step", "clean"),
    ("grad", "step", "grad=tainted", "tainted"),
    ("grad", "grad step", "step=tainted", "tainted"),
    ("grad", "grad", "step=preceded grad=tainted", "tainted"),
    ("grad step", "step", "grad step", "clean"),
    ("grad failed", "step", "grad step", "clean"),
    ("grad partly", "step", "grad=tainted", "tainted"),
]


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize(("sent", "kept_back", "then", "state"), KEPT_BACK)
def test_what_is_kept_back_for_another_reason_counts_as_failed(sent, kept_back, then, state, refuses):
    gate = StepGate(server_refuses=refuses)
    play(gate, sent)
    for name in kept_back.split():
        error = gate.keep_back(OPERATIONS[name], ERROR)
        assert type(error) in (PrecedingOperationFailed, StepTaintedError)
        assert error.preceding is ERROR
    play(gate, then)
    assert gate.state == state


def test_a_gate_that_does_not_stop_keeps_back_and_remembers_nothing():
    gate = StepGate(stop=False)
    for name in ("grad", "step"):
        assert type(gate.keep_back(OPERATIONS[name], ERROR)) is PrecedingOperationFailed
    play(gate, "grad step")


def test_an_operation_that_was_kept_back_was_not_applied():
    error = preceded("optim_step", ERROR)
    assert (error.outcome, error.preceding) == ("not_applied", ERROR)
    assert "optim_step was not sent" in str(error)


def test_a_load_does_not_excuse_a_gradient_that_failed_behind_it():
    gate = StepGate(server_refuses=True)
    load = operations.load_weights("tinker://run/weights/x", optimizer=True)
    gradient = Operation(name="forward_backward", tails=(), gradient=True)
    assert gate.admit(load) is None
    loaded_at = gate.place
    assert gate.admit(gradient) is None
    gate.gradient_failed(TinkerError("failed"), server_knows=True, step_sent=False, partly=False, place=gate.place)
    gate.restored(loaded_at)
    assert gate.state == "failed"


def test_a_load_excuses_a_gradient_that_failed_before_it():
    gate = StepGate()
    gradient = Operation(name="forward_backward", tails=(), gradient=True)
    assert gate.admit(gradient) is None
    gate.gradient_failed(TinkerError("failed"), server_knows=True, step_sent=False, partly=False)
    assert gate.admit(operations.load_weights("tinker://run/weights/x", optimizer=True)) is None
    gate.restored(gate.place)
    assert gate.state == "clean"
