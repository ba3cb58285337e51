"""A server that was killed shows as that wherever one can look: in progress and in the tree."""

from __future__ import annotations

import logging
import re

import pytest

import tinker_actors as ta
from tinker_actors.clients import closing

from .conftest import HANG
from .helpers import datum, eventually, prompt

pytestmark = pytest.mark.slow


def test_a_killed_server_shows_everywhere():
    with ta.local_server() as server:
        service = ta.ServiceClient(base_url=server.url)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        long = ta.SamplingParams(max_tokens=1900, stop=[])
        futures = {
            "sample at the server": sampler.sample(prompt("x"), 16, long),
            "gradient": trainer.forward_backward([datum("a long one " * 40)] * 100, "cross_entropy"),
            "step behind it": trainer.optim_step(),
        }
        eventually(lambda: futures["sample at the server"].request_id is not None)
        server.kill()
        futures |= {
            "sample called after": sampler.sample(prompt("x"), 1, long),
            "sample that nobody publishes for": trainer.policy("main").sample(prompt("x"), 1, long),
            "both": trainer.step([datum()], "cross_entropy"),
            "question": service._get_server_capabilities_future(),
        }
        late = service.create_sampling_client(base_model="local/tiny")
        futures |= {"sampler": late._ready, "sample of it": late.sample(prompt("x"), 1, long)}
        for what, future in futures.items():
            eventually(lambda future=future: "got no answer" in future.progress().detail)
            assert not future.done(), what
            assert future.progress().reason != "queued at the server", what
        assert futures["sample that nobody publishes for"].progress().reason == "waiting for publish()"
        assert "the server does not answer" in str(service.tree())
        service.close(timeout=0)


def test_a_server_that_answers_shows_nothing(service, trainer):
    trainer.step([datum()], "cross_entropy").result(HANG)
    assert "does not answer" not in str(service.tree())
    assert "unanswered" not in str(service.tree())


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(closing, "SILENT_FOR", 0.3)


def test_leaving_a_block_says_what_it_waits_for_and_the_errors_keep_the_cause(soon, caplog):
    with ta.local_server() as server:
        service = ta.ServiceClient(base_url=server.url)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        server.kill()
        futures = [trainer.step([datum()], "cross_entropy") for _ in range(3)]
        futures += [trainer.forward([datum()], "cross_entropy"), sampler.sample(prompt("x"), 1, {"max_tokens": 1})]
        late = service.create_lora_training_client("local/tiny", rank=4)
        eventually(lambda: "Connection refused" in futures[-1].progress().detail)
        with caplog.at_level(logging.WARNING, "tinker_actors"):
            service.close(timeout=2)
    told, *_, cost = warnings(caplog)
    assert re.match(r"Closing waits for 9 operations \(", told)
    for what in ("3 forward_backward", "3 optim_step", "1 forward", "1 sample", "1 create_model"):
        assert what in told
    assert re.search(r"up to \d s more\. The server does not answer: .*Connection refused\.", told)
    assert cost.startswith("Closed with 9 operations (")
    for future in [*futures, late]:
        with pytest.raises(ta.ClientClosedError, match=r"did not answer: .*Connection refused") as caught:
            future.result(HANG)
        assert "Create a new ServiceClient" in str(caught.value)
    with pytest.raises(ta.ClientClosedError, match="Connection refused"):
        trainer.forward([datum()], "cross_entropy")


def test_a_session_that_was_never_opened_is_waited_for_with_its_reason(soon, caplog):
    service = ta.ServiceClient(base_url="http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "tinker_actors"), pytest.raises(ZeroDivisionError), service:
        model = service.create_lora_training_client("local/tiny", rank=4)
        eventually(lambda: "Connection refused" in model._ready.progress().detail)
        raise ZeroDivisionError
    assert re.match(r"Closing waits for 1 operation \(1 create_model\), up to 5 s more\.", warnings(caplog)[0])
    with pytest.raises(ta.ClientClosedError, match="Connection refused"):
        model.result(HANG)


def test_a_service_that_ends_at_once_says_nothing(server, caplog):
    with caplog.at_level(logging.INFO, "tinker_actors"), ta.ServiceClient(base_url=server.url) as service:
        service.create_sampling_client(base_model="local/tiny").result(HANG)
    assert not warnings(caplog)
