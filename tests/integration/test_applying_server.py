"""What a failure does on servers that can't discard gradients, and on one that hides that it reads JSON only."""

from __future__ import annotations

import pytest

import tinker_actors as ta
from tinker_actors.runtime.unseen import cause_of

from .applying_server import COULD_NOT, FAILS, KINDS, Applying
from .conftest import HANG

REFUSE, FORBID = 400, 403


def datum(first):
    return ta.Datum(ta.ModelInput.from_ints([first, 5]), {"target_tokens": [5, 6], "weights": [1.0, 1.0]})


@pytest.fixture(params=[FAILS, REFUSE, FORBID], ids=["fails", "refused", "forbidden"])
def bad(request):
    return request.param


class Run:
    """A trainer on such a server."""

    def __init__(self, server, **config):
        self.server = server
        self.service = ta.ServiceClient(config=ta.Config(base_url=server.url, api_key="tml-x", **config))
        self.trainer = self.service.create_lora_training_client("some/model", rank=4)

    def gradient(self, *firsts):
        return self.trainer.forward_backward([datum(first) for first in firsts], "cross_entropy")

    def fails(self, *firsts):
        error = self.gradient(*firsts).exception(HANG)
        assert error is not None

    def step(self):
        return self.trainer.optim_step()

    def saves(self):
        """All of these go in any case."""
        assert self.trainer.save_state("rescue").result(HANG).path
        assert self.trainer.save_weights_for_sampler("rescue").result(HANG).path
        assert self.trainer.forward([datum(7)], "cross_entropy").result(HANG).loss_fn_outputs
        assert self.trainer.save_weights_and_get_sampling_client().result(HANG)
        assert self.trainer.policy("p").publish().result(HANG) is not None


def failure(awaited):
    """Return how a future or the making of a sampler failed, or None."""
    try:
        awaited.result(HANG)
    except ta.TinkerError as error:
        return error
    return None


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def run(kind):
    with Applying(kind) as server:
        run = Run(server)
        yield run
        run.service.close(timeout=0)


def test_refused_whole_and_told_what_is_called_next_goes_on_and_earlier_gradients_count(run, bad):
    run.gradient(1).result(HANG)
    run.fails(bad)
    run.saves()
    run.gradient(2).result(HANG)
    run.step().result(HANG)
    assert run.server.steps == [[1, 2]]


def test_refused_whole_what_was_called_before_it_was_told_is_not_sent(run, bad):
    run.server.may_answer.clear()
    gradient = run.gradient(bad)
    ignorant = [run.trainer.save_state("x"), run.gradient(3)]
    run.server.may_answer.set()
    assert gradient.exception(HANG) is not None
    errors = [future.exception(HANG) for future in ignorant]
    if bad == FAILS:  # it had accepted what came before it failed; what it did is told as it is
        assert all(error is None or isinstance(error, ta.PrecedingOperationFailed) for error in errors)
    else:
        assert all(isinstance(error, ta.PrecedingOperationFailed) for error in errors)
        assert (run.server.saved, run.server.gathered) == ([], [])


@pytest.mark.parametrize("bad", [REFUSE, FORBID])
def test_its_step_called_and_nothing_stayed(run, bad):
    gradient, step = run.gradient(bad), run.step()
    assert gradient.exception(HANG).status_code == bad
    assert isinstance(step.exception(HANG), ta.PrecedingOperationFailed)
    run.saves()
    run.gradient(2).result(HANG)
    run.step().result(HANG)
    assert run.server.steps == [[2]]


@pytest.mark.parametrize("way_out", ["acknowledge", "restore"])
@pytest.mark.parametrize("bad", [REFUSE, FORBID])
def test_its_step_called_and_gradients_stayed(run, bad, way_out):
    gradients, step = [run.gradient(1), run.gradient(bad)], run.step()
    assert gradients[1].exception(HANG).status_code == bad
    assert isinstance(step.exception(HANG), ta.PrecedingOperationFailed)
    for stopped in (run.gradient(2), run.step()):
        error = stopped.exception(HANG)
        assert isinstance(error, ta.StepTaintedError)
        assert error.outcome == "not_applied"
        assert "acknowledge_failure" in str(error)
        assert "not wanted" in str(error), "the message names the cause"
    run.saves()
    if way_out == "restore":
        run.trainer.load_state("tinker://model_abc/weights/rescue").result(HANG)
    else:
        run.trainer.acknowledge_failure()
    run.gradient(2).result(HANG)
    run.step().result(HANG)
    assert run.server.steps == [[2] if way_out == "restore" else [1, 2]]


@pytest.mark.parametrize("step_called", [True, False])
def test_applied_in_part(kind, bad, step_called):
    with Applying(kind) as server:
        run = Run(server, max_chunk_len=1)
        gradient = run.gradient(1, bad, 3)
        step = run.step() if step_called else None
        assert gradient.exception(HANG) is not None
        if step is not None and bad != FAILS:
            assert isinstance(step.exception(HANG), ta.PrecedingOperationFailed)
        elif step is not None:  # it may have been accepted before the failure was known
            assert isinstance(step.exception(HANG), ta.PrecedingOperationFailed | ta.StepTaintedError)
        assert isinstance(run.gradient(4).exception(HANG), ta.StepTaintedError)
        run.saves()
        run.trainer.acknowledge_failure()
        run.gradient(4).result(HANG)
        run.service.close(timeout=0)


@pytest.mark.parametrize("said", ["the gradient", "the step"])
def test_a_step_that_had_nothing_to_apply_stops_nothing_that_is_called_afterwards(run, said):
    run.trainer.result(HANG)
    run.server.may_answer.clear()
    gradient, step = run.gradient(FAILS), run.step()
    step.accepted.result(HANG)  # both are on the server before anybody knows
    run.server.may_answer.set()
    if said == "the gradient":
        assert COULD_NOT in str(gradient.exception(HANG))
    else:
        assert isinstance(step.exception(HANG), ta.PrecedingOperationFailed)
    run.saves()
    run.gradient(2).result(HANG)
    run.step().result(HANG)
    assert isinstance(step.exception(HANG), ta.PrecedingOperationFailed)
    assert "had no gradient" in str(step.exception(0))
    assert run.server.steps == [[], [2]]


def test_a_step_that_was_applied_in_ignorance_says_so_and_stops_what_builds_on_it(run):
    run.gradient(1).result(HANG)
    run.server.may_answer.clear()
    gradient, step = run.gradient(FAILS), run.step()
    step.accepted.result(HANG)  # both are on the server before anybody knows
    run.server.may_answer.set()
    assert COULD_NOT in str(gradient.exception(HANG))
    error = step.exception(HANG)
    assert isinstance(error, ta.StepTaintedError)
    assert error.outcome == "applied"
    assert run.server.steps == [[1]]
    assert isinstance(run.gradient(2).exception(HANG), ta.StepTaintedError)
    run.saves()
    run.trainer.acknowledge_failure()
    run.gradient(2).result(HANG)
    run.step().result(HANG)
    assert run.server.steps == [[1], [2]]


@pytest.mark.parametrize("on_step_failure", ["stop", "continue"])
@pytest.mark.parametrize("restored", ["on creation", "later"])
def test_nothing_is_done_behind_a_restore_that_fails(restored, on_step_failure):
    with Applying() as server:
        run = Run(server, on_step_failure=on_step_failure)
        trainer = run.trainer.result(HANG)
        path = "tinker://model_abc/weights/broken"
        server.may_answer.clear()
        if restored == "later":
            load = trainer.load_state(path)
            load.accepted.result(HANG)
        else:
            trainer = run.service.create_training_client_from_state(path)
        futures = [
            trainer.forward([datum(1)], "cross_entropy"),
            trainer.save_state("x"),
            trainer.save_weights_for_sampler("x"),
            trainer.save_weights_and_get_sampling_client(),
            trainer.forward_backward([datum(1)], "cross_entropy"),
            trainer.optim_step(),
        ]
        server.may_answer.set()
        errors = [failure(future) for future in futures]
        if restored == "later" and on_step_failure == "continue":
            assert errors == [None] * len(errors), "it was asked for"
        else:
            assert all(COULD_NOT in str(error) for error in errors)
            assert (server.forwards, server.saved, server.gathered, server.steps) == (0, [], [], [])
        run.service.close(timeout=0)


def test_who_goes_on_whatever_fails_gets_what_the_server_does():
    with Applying() as server:
        run = Run(server, on_step_failure="continue")
        futures = [run.gradient(1), run.gradient(REFUSE), run.step()]
        assert [future.exception(HANG) is None for future in futures] == [True, False, True]
        assert server.steps == [[1]]
        run.service.close(timeout=0)


# ---------------------------------------------------------------- a server that refuses by itself


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("on_step_failure", ["stop", "continue"])
def test_what_a_server_refuses_because_of_a_failure_that_it_names_leads_to_that_failure(on_step_failure, told):
    with Applying("official", refuses=True) as server:
        run = Run(server, on_step_failure=on_step_failure)
        run.trainer.result(HANG)
        server.may_answer.clear()
        gradient = run.gradient(FAILS)
        step = None if told else run.step()
        if step is not None:
            step.accepted.result(HANG)
        server.may_answer.set()
        if told:
            assert COULD_NOT in str(gradient.exception(HANG))
            step = run.step()
        run.trainer.barrier(HANG)
        assert isinstance(step._failure(), ta.PrecedingOperationFailed)
        assert step._failure().preceding_seq_id == 1
        assert COULD_NOT in str(step._failure().preceding)
        assert cause_of(step._failure()).message == cause_of(gradient._failure()).message, "it is told once"
        # Nobody is stopped by it for ever: who is told of the step is told of all.
        assert step.exception(HANG)
        run.gradient(2).result(HANG)
        run.step().result(HANG)
        assert server.steps == [[2]]
        run.service.close(timeout=0)


# ---------------------------------------------------------------- the dialect of a server that hides it


@pytest.mark.parametrize("unreadable", ["500", "422"])
@pytest.mark.parametrize("data", [[1], [1, 2, 3]])
def test_a_server_with_settings_that_reads_json_only_is_found_out(unreadable, data):
    """Some offer `client/config`, answer data in protobuf with 500, and then close the connection without a word."""
    with Applying(config=True, unreadable=unreadable) as server:
        run = Run(server, max_chunk_len=1)
        futures = [run.gradient(*data), run.step(), run.gradient(9), run.step()]
        for future in futures:
            future.result(HANG)
        assert server.steps == [data, [9]]
        assert (server.forwards > 0, server.bodies[-1]) == (True, "json")
        protobuf = server.bodies.count("protobuf")
        run.saves()
        assert server.bodies.count("protobuf") == protobuf, "once it is known it is kept"
        run.service.close(timeout=0)
