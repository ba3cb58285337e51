"""What a sample says to its lane, and that its memory is given back once, however it ends."""

from __future__ import annotations

import gc
import itertools
import json
import weakref

import pytest

import tinker_actors as ta
from tinker_actors.actors.service import SamplerEntry
from tinker_actors.clients.sample_request import SampleRequest, SamplerLease
from tinker_actors.protocol.replies.plain import CLONE_RANGE
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM
from tinker_actors.types.wire import ClientConfigResponse

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=4)
STORM = Mishaps(
    refused=0.1, request_lost=0.1, answer_lost=0.15, twice=0.15, busy=0.1, throttled=0.05, slow=0.4, longest=8.0
)


@pytest.fixture
def lease(service):
    inner = service._service
    return SamplerLease(next(itertools.count(10**9)), inner, inner.registry)


def put(service, lease, **fields):
    service._service.samplers.put(lease.key, SamplerEntry("ready", sampling_session_id="s:0", **fields))


def request(service, lease):
    return SampleRequest(service._service, lease, 3, Tracker("sample", 0.0), None)


def read(head):
    return json.loads(head + b'"rest":0}')


def test_heads_count_the_samples_of_a_sampler(service, lease):
    put(service, lease)
    heads = [read(request(service, lease).head()) for _ in range(3)]
    assert heads == [{"sampling_session_id": "s:0", "seq_id": number, "rest": 0} for number in range(3)]


def test_a_copy_in_another_process_counts_elsewhere(service, lease):
    put(service, lease, clone_id=7)
    assert [read(request(service, lease).head())["seq_id"] for _ in range(2)] == [7 * CLONE_RANGE, 7 * CLONE_RANGE + 1]


def test_an_entry_that_was_replaced_is_not_remembered(service, lease):
    put(service, lease)
    request(service, lease).head()
    put(service, lease, clone_id=2)
    assert read(request(service, lease).head())["seq_id"] == 2 * CLONE_RANGE + 1


def test_without_a_sampler_there_is_no_head_but_a_reason(service, lease):
    asked = request(service, lease)
    assert asked.head() is None
    assert (asked.reason, asked.key) == ("waiting for its sampler", lease.key)
    assert asked.channel is None


def test_a_ready_sampler_gives_its_head_in_the_callers_thread(simulation, service):
    sampler = service.create_sampling_client(base_model="local/ledger")
    simulation.wait_for(sampler.sample(PROMPT, 1, PARAMS))
    futures = [sampler.sample(PROMPT, 1, PARAMS) for _ in range(3)]
    works = service._service.lanes.tables["sample"].values()
    assert [(read(work.head)["seq_id"], work.state) for work in works] == [(n, "new") for n in (1, 2, 3)]
    simulation.wait_for(*futures)


def test_a_failed_sampler_fails_its_samples_at_once_with_its_own_error(simulation, service):
    sampler = service.create_sampling_client(base_model="no/such")
    parked = sampler.sample(PROMPT, 1, PARAMS)
    simulation.wait_for(parked)
    first, second = sampler.sample(PROMPT, 1, PARAMS), sampler.sample(PROMPT, 1, PARAMS)
    assert first.done()
    assert (type(first.exception(0)), str(first.exception(0))) == (type(parked.exception(0)), str(parked.exception(0)))
    assert first.exception(0) is not second.exception(0)
    budget = service._service.lanes.queue_budget
    assert (budget.held, budget.holders) == (0, 0)


def test_a_sampler_in_the_making_parks_its_samples(simulation, service):
    sampler = service.create_sampling_client(base_model="local/ledger")
    future = sampler.sample(PROMPT, 1, PARAMS)
    assert future.progress().reason in {"queued here", "waiting for its sampler"}
    simulation.wait_for(future)
    assert len(future.result(0).sequences) == 1


@pytest.mark.parametrize(
    ("wanted", "offered", "used"), [(None, True, True), (None, False, False), (True, False, True), (False, True, False)]
)
def test_completions_are_heard_of_where_client_or_server_say_so(wanted, offered, used):
    simulation = Simulation(0, CALM, use_retrieve_futures=wanted)
    service = simulation.service()
    service._service.server = ClientConfigResponse(sample_use_retrieve_futures=offered)
    lease = SamplerLease(10**9, service._service, service._service.registry)
    put(service, lease, clone_id=3)
    asked = request(service, lease)
    asked.head()
    assert asked.channel == (("s:0", 3) if used else None)
    service._service.samplers.remove(lease.key)
    simulation.close(service)


@pytest.mark.parametrize("seed", range(10))
def test_memory_is_given_back_once_however_a_sample_ends(seed):
    simulation = Simulation(seed, STORM)
    service = simulation.service()
    good = service.create_sampling_client(base_model="local/ledger")
    bad = service.create_sampling_client(base_model="no/such")
    never = service.create_lora_training_client("local/ledger").policy("main")
    budget = service._service.lanes.queue_budget
    futures = [
        source.sample(PROMPT, 1, PARAMS)
        for _ in range(10)
        for source in (good, bad, good.with_options(timeout=4), good.with_options(retry=False), never)
    ]
    assert budget.holders == len(futures)
    assert budget.held > len(futures) * 1000
    for index, future in enumerate(futures):
        for _ in range(30):
            simulation.runtime.step()
        if index % 3 == 0 or index % 5 == 4:
            future.cancel()
            future.cancel()
    simulation.wait_for(*futures)
    assert (budget.held, budget.holders) == (0, 0)
    assert {type(future.exception(0)) for future in futures if not future.cancelled()} > {type(None)}
    simulation.close(service)


def test_what_is_left_when_a_service_ends_is_given_back(simulation):
    service = simulation.service()
    future = service.create_lora_training_client("local/ledger").policy("main").sample(PROMPT, 1, PARAMS)
    budget = service._service.lanes.queue_budget
    simulation.close(service)
    simulation.wait_for(future)
    assert future.exception(0)
    assert (budget.held, budget.holders) == (0, 0)


def test_a_result_that_nobody_reads_keeps_no_sampler(simulation, service):
    sampler = service.create_sampling_client(base_model="local/ledger")
    future = sampler.sample(PROMPT, 1, PARAMS)
    lease = weakref.ref(sampler._lease)
    simulation.wait_for(future)
    del sampler
    gc.collect()
    assert lease() is None
    assert future.result(0).weights_version == 0


@pytest.mark.parametrize("call", ["sample", "compute_logprobs", "map"])
def test_an_image_that_does_not_say_how_many_tokens_it_is_goes_to_the_server(simulation, service, call):
    prompt = ta.ModelInput([ta.types.EncodedTextChunk([1]), ta.types.ImageChunk(b"png", "png")])
    sampler = service.create_sampling_client(base_model="local/ledger")
    if call == "sample":
        future = sampler.sample(prompt, 1, PARAMS)
    elif call == "compute_logprobs":
        future = sampler.compute_logprobs(prompt)
    else:
        future = sampler._ask(prompt, 1, PARAMS, None)
    simulation.wait_for(future)
    assert isinstance(future.exception(0), ta.RequestFailedError | ta.APIStatusError), "this one takes no images"
