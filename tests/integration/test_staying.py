"""What belongs to its process says so where somebody would pickle or copy it, and what to do instead."""

from __future__ import annotations

import copy
import pickle

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, prompt

MAKES = {
    "service": (lambda service, trainer, sampler: service, "ServiceClient(...)"),
    "trainer": (lambda service, trainer, sampler: trainer, "create_training_client_from_state_with_optimizer"),
    "policy": (lambda service, trainer, sampler: trainer.policy("main"), "save_weights_and_get_sampling_client"),
    "pin": (lambda service, trainer, sampler: trainer.policy("main").pin(), "save_weights_and_get_sampling_client"),
    "future": (lambda service, trainer, sampler: trainer.forward([datum()], "cross_entropy"), "result()"),
    "fan-out": (lambda service, trainer, sampler: sampler.map([[1]], 1, {"max_tokens": 1}), "what it yields"),
    "proxy": (lambda service, trainer, sampler: trainer.proxy(), "sampling client"),
    "method of a proxy": (lambda service, trainer, sampler: sampler.proxy().sample, "sampling client"),
    "events": (lambda service, trainer, sampler: service.events, "the events"),
}


@pytest.mark.parametrize("name", MAKES)
def test_what_stays_in_its_process_says_what_to_do_instead(service, trainer, name):
    make, instead = MAKES[name]
    sampler = service.create_sampling_client(base_model="local/tiny")
    stays = make(service, trainer, sampler)
    for send in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=f"A {type(stays).__name__} can't be pickled or copied") as caught:
            send(stays)
        assert instead in str(caught.value)
    if isinstance(stays, ta.APIFuture):
        stays.result(HANG)


def test_a_server_is_passed_by_its_url(server):
    with pytest.raises(TypeError, match="Pass its url"):
        pickle.dumps(server)


def test_a_sampling_client_goes_to_other_processes(service):
    sampler = service.create_sampling_client(base_model="local/tiny")
    twin = pickle.loads(pickle.dumps(sampler))
    assert twin.sample(prompt("a"), 1, {"max_tokens": 1}).result(HANG).sequences
