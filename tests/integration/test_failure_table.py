"""What becomes of what is called before and after a failed gradient, cell by cell, on each kind of server.

`tests/protocol/test_order_table.py` holds the rules against the same table.
"""

from __future__ import annotations

from types import MappingProxyType

import pytest

import tinker_actors as ta

from .applying_server import FAILS, KINDS, REFUSED, Applying
from .conftest import HANG

pytestmark = pytest.mark.slow

TOO_LONG = NO_SUCH_TOKEN = 5000  # the ledger's context is 4,096 tokens, its vocabulary 1,000


def datum(first, length=2):
    ids = [first] + [5] * (length - 1)
    return ta.Datum(ta.ModelInput.from_ints(ids), {"target_tokens": ids, "weights": [1.0] * length})


class OnApplying:
    """A trainer on a server that applies what it is given."""

    discards = False
    bad = MappingProxyType({"refused": [datum(REFUSED[0])], "fails": [datum(FAILS)]})

    def __init__(self, server):
        self.server = server
        self.service = ta.ServiceClient(config=ta.Config(base_url=server.url, api_key="tml-x", max_chunk_len=1))
        self.trainer = self.service.create_lora_training_client("some/model", rank=4)
        self.trainer.result(HANG)

    def gradient(self, data):
        return self.trainer.forward_backward(data, "cross_entropy")

    def hold(self):
        self.server.may_answer.clear()

    def let_go(self, step):
        if step is not None:
            step.accepted.result(HANG)  # both are on the server before anybody knows
        self.server.may_answer.set()

    def applied(self, result):
        return self.server.steps[-1]


class OnEmbedded(OnApplying):
    """The same on the embedded server, whose ledger tells what was applied."""

    discards = True
    bad = MappingProxyType({"refused": [datum(1, TOO_LONG)], "fails": [datum(NO_SUCH_TOKEN)]})

    def __init__(self, url):
        self.service = ta.ServiceClient(base_url=url, config=ta.Config(max_chunk_len=1))
        self.trainer = self._trainer()

    def _trainer(self):
        return self.service.create_lora_training_client("local/ledger", rank=4, seed=1)

    def gradient(self, data):
        return self.trainer.forward_backward(data, "cross_entropy")

    def hold(self):
        """Do nothing: it discards, whichever comes first."""

    def let_go(self, step):
        """Do nothing."""

    def applied(self, result):
        """Return the gradients that lead to such weights on a model of their own."""
        for firsts in ([1, 2], [2]):
            other = self._trainer()
            for first in firsts:
                other.forward_backward([datum(first)], "cross_entropy")
            if other.optim_step().result(HANG).metrics["weights:unique"] == result.metrics["weights:unique"]:
                return firsts
        return None


@pytest.fixture(scope="module")
def ledger():
    with ta.local_server(engine="ledger") as server:
        yield server


@pytest.fixture(params=["embedded", *KINDS])
def run(request):
    if request.param == "embedded":
        run = OnEmbedded(request.getfixturevalue("ledger").url)
        yield run
        run.service.close(timeout=0)
        return
    with Applying(request.param) as server:
        run = OnApplying(server)
        yield run
        run.service.close(timeout=0)


@pytest.mark.parametrize("earlier", [True, False], ids=["earlier gradients", "none before"])
@pytest.mark.parametrize("step_called", [True, False], ids=["step called", "step not called"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in part"])
@pytest.mark.parametrize("how", ["refused", "fails"])
def test_the_table(run, how, whole, step_called, earlier):
    if earlier:
        run.gradient([datum(1)]).result(HANG)
    run.hold()
    bad = run.bad[how]
    gradient = run.gradient(bad if whole else [datum(7), *bad, datum(8)])
    step = run.trainer.optim_step() if step_called else None
    run.let_go(step if how == "fails" else None)

    assert isinstance(gradient.exception(HANG), ta.TinkerError)
    assert not isinstance(gradient.exception(0), ta.PrecedingOperationFailed)
    if step is not None:
        error = step.exception(HANG)
        assert isinstance(error, ta.PrecedingOperationFailed | ta.StepTaintedError)
        assert gradient.exception(0).message.removesuffix(".") in str(error), "it names the cause"
        assert (error.outcome == "applied") == (not run.discards and how == "fails")

    # Told. What saves always goes.
    assert run.trainer.save_state("rescue").result(HANG).path
    assert run.trainer.save_weights_for_sampler("rescue").result(HANG).path
    assert run.trainer.forward([datum(7)], "cross_entropy").result(HANG).loss_fn_outputs
    assert run.trainer.save_weights_and_get_sampling_client().result(HANG)
    assert run.trainer.policy("p").publish().result(HANG) is not None

    stayed = not whole or (step_called and earlier)
    tainted = stayed and not run.discards
    if tainted:
        for stopped in (run.gradient([datum(2)]), run.trainer.optim_step()):
            error = stopped.exception(HANG)
            assert isinstance(error, ta.StepTaintedError)
            assert error.outcome == "not_applied"
            assert "acknowledge_failure" in str(error)
        run.trainer.acknowledge_failure()
    run.gradient([datum(2)]).result(HANG)
    result = run.trainer.optim_step().result(HANG)
    applied = run.applied(result)
    if tainted:
        assert applied[-1] == 2
    elif earlier and not step_called:
        # Where the server refused all parts, nothing of it was there, and what was called before counts.
        assert applied == [1, 2] or (not whole and applied == [2])
    else:
        assert applied == [2]
