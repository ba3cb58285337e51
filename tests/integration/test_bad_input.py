"""Bad input: a clear typed error, before anything is sent where the client can know, and nothing queued is lost."""

from __future__ import annotations

import http.server
import threading

import numpy as np
import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, prompt

PARAMS = ta.SamplingParams(max_tokens=2)


def inputs(**values):
    return ta.Datum(ta.ModelInput.from_ints([1, 2, 3]), values)


@pytest.mark.parametrize(
    ("data", "loss_fn", "says"),
    [
        ([], "cross_entropy", "empty"),
        ([inputs(target_tokens=[1, 2])], "cross_entropy", "target_tokens"),
        ([inputs(target_tokens=[1, 2, 3], weights=[1.0, float("nan"), 1.0])], "cross_entropy", "weights"),
        ([datum()], "no_such_loss", "cross_entropy"),
        (["not a datum"], "cross_entropy", "str"),
    ],
)
def test_bad_training_data_is_refused_in_the_callers_thread(trainer, data, loss_fn, says):
    before = trainer.forward([datum()], "cross_entropy")
    with pytest.raises(ta.InvalidInputError, match=says):
        trainer.forward_backward(data, loss_fn)
    after = trainer.forward([datum()], "cross_entropy")
    assert before.result(HANG).metrics == after.result(HANG).metrics


def test_a_dtype_without_a_name_on_the_wire_is_refused():
    with pytest.raises(ta.InvalidInputError, match="complex64"):
        inputs(target_tokens=np.zeros(3, np.complex64))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((prompt("a"), 1, ta.SamplingParams(max_tokens=0)), "max_tokens"),
        ((prompt("a"), 0, PARAMS), "num_samples"),
        ((ta.ModelInput.empty(), 1, PARAMS), "prompt"),
        ((prompt("a"), 1, {"max_tokens": 3, "temprature": 1.0}), "temprature"),
        (("text", 1, PARAMS), "prompt can't be made of str: encode the text"),
        (([1, True], 1, PARAMS), r"prompt\[1\] is True"),
    ],
)
def test_bad_sampling_arguments_are_refused_in_the_callers_thread(service, arguments, says):
    sampler = service.create_sampling_client(base_model="local/tiny")
    with pytest.raises(ta.InvalidInputError, match=says):
        sampler.sample(*arguments)
    assert sampler.sample(prompt("a"), 1, PARAMS).result(HANG)


def test_a_path_that_is_none_is_refused(service):
    with pytest.raises(ta.InvalidInputError, match="tinker://"):
        service.create_sampling_client(model_path="my/model")
    with pytest.raises(ta.InvalidInputError, match="tinker://"):
        service.create_training_client_from_state("my/model")
    with pytest.raises(ta.InvalidInputError, match="exactly one"):
        service.create_sampling_client()


def test_an_unknown_base_model_lists_the_ones_there_are_and_says_where_it_was_asked_for(service):
    trainer = service.create_lora_training_client("no/such-model")
    with pytest.raises(ta.BadRequestError, match="local/tiny") as error:
        trainer.result(HANG)
    assert any("test_bad_input.py" in note for note in error.value.__notes__)
    with pytest.raises(ta.BadRequestError, match="local/tiny"):
        trainer.optim_step().result(HANG)
    sampler = service.create_sampling_client(base_model="no/such-model")
    with pytest.raises(ta.TinkerError, match="local/tiny"):
        sampler.sample(prompt("a"), 1, PARAMS).result(HANG)


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing(service):
    trainer = service.create_training_client_from_state("tinker://no-such-run/weights/x")
    with pytest.raises(ta.NotFoundError):
        trainer.result(HANG)


def test_a_prompt_beyond_the_context_names_both_numbers(service):
    sampler = service.create_sampling_client(base_model="local/tiny")
    with pytest.raises(ta.BadRequestError, match=r"(?s)5000.*2048|2048.*5000"):
        sampler.sample(ta.ModelInput.from_ints([1] * 5000), 1, PARAMS).result(HANG)


def test_a_server_that_is_not_there_is_named():
    config = ta.Config(creation_timeout=0.5)
    with ta.ServiceClient(base_url="http://127.0.0.1:9", config=config) as service:
        trainer = service.create_lora_training_client("local/tiny")
        pending = trainer.optim_step()
        for wait in (lambda: trainer.result(HANG), lambda: pending.result(HANG)):
            with pytest.raises(ta.APIConnectionError, match=r"127\.0\.0\.1:9"):
                wait()


def test_a_server_that_answers_html_is_told_from_a_tinker_server():
    class Html(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            body = b"<!doctype html><html><head><title>Welcome to nginx</title></head></html>"
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - the name http.server looks for

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Html)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{web.server_port}"
        html = pytest.raises(ta.APIResponseValidationError, match="HTML")
        with ta.ServiceClient(base_url=url) as service, html:
            service.create_lora_training_client("local/tiny").result(HANG)
    finally:
        web.shutdown()
        web.server_close()


def test_token_ids_are_taken_where_an_input_is_wanted(service, trainer):
    ids = [104, 105]
    sampler = service.create_sampling_client(base_model="local/tiny")
    params = ta.SamplingParams(max_tokens=2, temperature=0.0)
    made = ta.ModelInput.from_ints(ids)
    first, *others = (
        [sequence.tokens for sequence in sampler.sample(given, 1, params).result(HANG).sequences]
        for given in (made, ids, tuple(ids), np.array(ids))
    )
    assert others == [first] * 3
    mapped = dict(sampler.map([ids, made], 1, params))
    assert [[sequence.tokens for sequence in response.sequences] for response in mapped.values()] == [first] * 2
    assert sampler.compute_logprobs(ids).result(HANG) == sampler.compute_logprobs(made).result(HANG)
    losses = [
        trainer.forward([ta.Datum(given, {"target_tokens": [105, 106]})], "cross_entropy").result(HANG).metrics
        for given in (ids, made)
    ]
    assert losses[0] == losses[1]
