"""A server that gives things our key as their name: no such name is taken, and the key is in nothing that is shown."""

from __future__ import annotations

import base64
import logging
import traceback
from urllib.parse import quote

import pytest

import tinker_actors as ta

from .bending import Bending
from .conftest import HANG

KEY = "tml-Zq8+Xw/3vPfK1dRt7yLm"
FORMS = {
    "plain": KEY,
    "within": f"session:{KEY}:0",
    "other case": KEY.upper(),
    "escaped": quote(KEY, safe=""),
    "base64": base64.b64encode(f"key {KEY}".encode()).decode(),
    "hexadecimal": KEY.encode().hex(),
}


def make_sampler(service):
    service.create_sampling_client(base_model="fake").result(HANG)


def make_model(service):
    service.create_lora_training_client("fake", rank=4).result(HANG)


def sample(service):
    sampler = service.create_sampling_client(base_model="fake")
    sampler.sample(ta.ModelInput.from_ints([1]), 1, {"max_tokens": 2}).result(HANG)


def save(service):
    service.create_lora_training_client("fake", rank=4).save_state("x").result(HANG)


def save_for_sampler(service):
    service.create_lora_training_client("fake", rank=4).save_weights_and_get_sampling_client().result(HANG)


def load(service):
    service.create_lora_training_client("fake", rank=4).load_state("tinker://m-1/weights/x").result(HANG)


def describe(service):
    service.create_lora_training_client("fake", rank=4).get_info()


def capabilities(service):
    service.get_server_capabilities()


def promised(said):
    return {"retrieve_future": lambda _: (200, said)}


# By name: what is done, and what the server says with a name of its choice.
CASES = {
    "session_id": (make_sampler, lambda name: {"create_session": lambda _: (200, {"session_id": name})}),
    "sampling_session_id": (
        make_sampler,
        lambda name: {"create_sampling_session": lambda _: (200, {"sampling_session_id": name})},
    ),
    "request_id of a sample": (sample, lambda name: {"asample": lambda _: (200, {"request_id": name})}),
    "sample_sequence_ids": (
        sample,
        lambda name: {"asample": lambda _: (200, {"request_id": "r", "sample_sequence_ids": ["a", name]})},
    ),
    "request_id of a model": (make_model, lambda name: {"create_model": lambda _: (200, {"request_id": name})}),
    "model_id at once": (
        make_model,
        lambda name: {"create_model": lambda _: (200, {"request_id": "r", "model_id": name})},
    ),
    "model_id": (make_model, lambda name: promised({"type": "create_model", "model_id": name})),
    "path": (
        save,
        lambda name: {
            "save_weights": lambda _: (200, {"request_id": "saved"}),
            "retrieve_future": lambda asked: (
                (200, {"type": "save_weights", "path": name}) if asked["request_id"] == "saved" else None
            ),
        },
    ),
    "path of a load": (
        load,
        lambda name: {
            "load_weights": lambda _: (200, {"request_id": "loaded"}),
            "retrieve_future": lambda asked: (
                (200, {"type": "load_weights", "path": name}) if asked["request_id"] == "loaded" else None
            ),
        },
    ),
    "sampler of saved weights": (
        save_for_sampler,
        lambda name: {
            "save_weights_for_sampler": lambda _: (200, {"request_id": "saved"}),
            "retrieve_future": lambda asked: (
                (200, {"type": "save_weights_for_sampler", "sampling_session_id": name})
                if asked["request_id"] == "saved"
                else None
            ),
        },
    ),
    "tokenizer_id": (
        describe,
        lambda name: {"get_info": lambda _: (200, {"model_id": "m-1", "model_data": {"tokenizer_id": name}})},
    ),
    "model_name": (
        capabilities,
        lambda name: {"get_server_capabilities": lambda _: (200, {"supported_models": [{"model_name": name}]})},
    ),
}


@pytest.mark.parametrize(
    ("what", "form"), [(what, "plain") for what in CASES] + [("session_id", form) for form in FORMS if form != "plain"]
)
def test_a_name_that_holds_our_key_is_refused_and_shown_nowhere(what, form, caplog):
    caplog.set_level(logging.DEBUG)
    run, rules = CASES[what]
    heard = []
    config = ta.Config(creation_timeout=HANG, server_orders=True)
    with (
        Bending(**rules(FORMS[form])) as server,
        ta.ServiceClient(base_url=server.url, api_key=KEY, config=config) as service,
    ):
        service.events.subscribe(lambda event: heard.append(repr(event)))
        with pytest.raises(ta.TinkerError) as caught:
            run(service)
        shown = [str(service.tree()), repr(service)]
        service.close(timeout=0)
    error: BaseException | None = caught.value
    assert "a secret of this process stands in" in str(error)
    while error is not None:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown += [str(error), repr(error), repr(getattr(error, "body", None)), repr(getattr(error, "request_id", None))]
        shown += [repr(frame.locals) for frame in report.stack if "/tinker_actors/" in frame.filename]
        error = error.__cause__
    shown += [record.getMessage() for record in caplog.records] + heard
    for text in shown:
        assert not any(form in text for form in FORMS.values()), text
        assert KEY[4:16].lower() not in text.lower()
