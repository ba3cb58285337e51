"""Proxies: every client in pykka's words. They offer what the clients offer, and a call is the client's call."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import pickle
import threading

import pykka
import pytest
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

import tinker_actors as ta
from tinker_actors.clients.proxy import ClientProxy, ProxyMethod
from tinker_actors.clients.service import ServiceClient
from tinker_actors.clients.training import TrainingClient
from tinker_actors.runtime.failed_future import unseen
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM
from tinker_actors.types.inputs import ModelInput

PROMPT = ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=2)
DATUM = ta.Datum(PROMPT, {"target_tokens": [2, 3, 4], "weights": [1.0] * 3})

PROXIES = {
    ta.ServiceClient: ta.ServiceProxy,
    ta.TrainingClient: ta.TrainingProxy,
    ta.SamplingClient: ta.SamplingProxy,
    ta.Policy: ta.PolicyProxy,
    ta.PinnedPolicy: ta.PinnedPolicyProxy,
}

# Not through a proxy: it is what makes one, and what makes another client of a text and not of a client.
LEFT_OUT = {"proxy", "from_sampler_handle"}
# Through a proxy only: pykka's way to end an actor.
ADDED = {"stop"}


@pytest.fixture
def clients(service, trainer):
    """One of each kind."""
    policy = trainer.policy("main", max_lag=3)
    sampler = service.create_sampling_client(base_model="local/ledger")
    return {type(client): client for client in (service, trainer, sampler, policy, policy.pin())}


def settle(simulation, *futures):
    """Wait for futures and return their results."""
    simulation.wait_for(*futures)
    return [future.get(timeout=0) for future in futures]


def is_twin(kind, name):
    return name.endswith("_async") and hasattr(kind, name.removesuffix("_async"))


def lacking(kind, client, proxy):
    """Return what is public in a client and not in its proxy."""
    public = {name for name in (*dir(kind), *vars(client)) if not name.startswith("_") and not is_twin(kind, name)}
    return public - LEFT_OUT - set(dir(proxy))


# ---------------------------------------------------------------- the same surface


@pytest.mark.parametrize("kind", PROXIES)
def test_a_proxy_offers_what_its_client_offers_and_nothing_else(clients, kind):
    client = clients[kind]
    proxy = client.proxy()
    assert type(proxy) is PROXIES[kind]
    assert lacking(kind, client, proxy) == set()
    assert set(dir(proxy)) - {*dir(kind), *vars(client)} == (ADDED if hasattr(client, "actor_ref") else set())


def test_a_method_that_a_proxy_lacks_is_found(clients):
    trainer = clients[ta.TrainingClient]

    class More(TrainingClient):
        def evaluate(self):
            return 1

    assert lacking(More, trainer, trainer.proxy()) == {"evaluate"}
    trainer.colour = "red"
    assert lacking(TrainingClient, trainer, trainer.proxy()) == {"colour"}


@pytest.mark.parametrize("kind", PROXIES)
def test_a_proxied_method_has_the_signature_and_the_words_of_the_clients(clients, kind):
    client = clients[kind]
    proxy = client.proxy()
    for name in set(dir(proxy)) - ADDED:
        mine = inspect.getattr_static(kind, name, None)
        if not callable(mine):
            continue
        method = getattr(proxy, name)
        shown, real = inspect.signature(method), inspect.signature(getattr(client, name))
        assert list(shown.parameters.values()) == list(real.parameters.values()), name
        assert str(shown.return_annotation).startswith("APIFuture[")
        if str(real.return_annotation).startswith("APIFuture["):
            assert shown.return_annotation == real.return_annotation
        assert method.__name__ == name
        assert method.__doc__
        if isinstance(method, ProxyMethod):
            assert method.__doc__ == mine.__doc__
            assert repr(method) == f"<{name} of {proxy!r}>"
            assert callable(method.defer)
            assert inspect.signature(getattr(type(proxy), name)).parameters == inspect.signature(mine).parameters


@pytest.mark.parametrize("kind", PROXIES)
def test_what_a_client_does_with_a_timeout_its_proxy_does_by_a_future(clients, kind):
    """A method that waits must have a twin that does not, or its proxy would wait."""
    waits = {
        name
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and not is_twin(kind, name) and "timeout" in inspect.signature(method).parameters
    } - {"with_options"}
    assert {name for name in waits if not hasattr(kind, f"_{name}_future")} == set()


def test_no_operation_has_another_way_through_the_proxy(clients):
    """Only what waits has a twin, and the twin has its parameters."""
    for kind in PROXIES:
        for name in dir(kind):
            if name.startswith("_") and name.endswith("_future") and not name.startswith("__"):
                method, twin = getattr(kind, name.removeprefix("_").removesuffix("_future"), None), getattr(kind, name)
                if method is None:
                    continue
                parameters = inspect.signature(twin).parameters
                assert parameters == inspect.signature(method).parameters or list(parameters) == [
                    "self", "args", "kwargs",
                ], (kind, name)  # fmt: skip


# ---------------------------------------------------------------- calls


def test_one_get_is_the_result(simulation, trainer):
    proxy = trainer.proxy()
    gradient, optimizer = proxy.forward_backward([DATUM], "cross_entropy"), proxy.optim_step()
    assert isinstance(gradient, ta.APIFuture)
    assert not gradient.done()
    output, response = settle(simulation, gradient, optimizer)
    assert isinstance(output, ta.ForwardBackwardOutput)
    assert isinstance(response, ta.OptimStepResponse)
    assert pykka.get_all([gradient, optimizer]) == [output, response]
    joined = gradient.map(lambda result: result.metrics).join(optimizer, proxy.policy("x").map(repr))
    assert joined.get(timeout=0) == [output.metrics, response, "<Policy 'x': nothing published>"]


def test_methods_can_be_called_on_the_class(simulation, trainer):
    futures = [ta.TrainingProxy.step(proxy, [DATUM], "cross_entropy") for proxy in [trainer.proxy()] * 2]
    assert len(settle(simulation, *futures)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_calls_by_client_and_by_proxy_are_one_sequence(seed):
    """On a bad network, too: the ledger's weights are equal if the same was applied once, in the same order."""
    simulation = Simulation(seed, Mishaps())
    service = simulation.service()

    def train(by_turns):
        trainer = service.create_lora_training_client("local/ledger", seed=1)
        futures = []
        for number in range(6):
            drivers = (trainer, trainer.proxy()) if by_turns else (trainer, trainer)
            first, second = drivers if number % 2 else drivers[::-1]
            data = [ta.Datum(PROMPT, {"target_tokens": [2, 3, number], "weights": [1.0] * 3})]
            futures += [first.forward_backward(data, "cross_entropy"), second.optim_step()]
            futures += [second.step(data, "cross_entropy"), first.forward_backward(data, "cross_entropy")]
            futures += [second.optim_step(ta.AdamParams(learning_rate=number + 1))]
        last = trainer.proxy().optim_step()
        simulation.wait_for(*futures, last)
        return last.result(0).metrics["weights:unique"]

    assert train(by_turns=True) == train(by_turns=False)
    simulation.close(service)


def test_a_failure_holds_for_what_was_called_either_way(simulation, trainer):
    proxy = trainer.proxy()
    failed = proxy.load_state("tinker://no/weights/such")
    behind, direct = proxy.optim_step(), trainer.optim_step()
    simulation.wait_for(failed, behind, direct)
    for future in (behind, direct):
        with pytest.raises(ta.PrecedingOperationFailed):
            future.get(timeout=0)
    with pytest.raises(ta.TinkerError):
        failed.map(str).get(timeout=0)  # by this the caller is told
    later = proxy.step([DATUM], "cross_entropy")
    assert settle(simulation, later)[0].metrics is not None


def test_arguments_are_checked_in_the_callers_thread(simulation, trainer, service):
    proxy, source = trainer.proxy(), service.create_sampling_client(base_model="local/ledger").proxy()
    with pytest.raises(ta.InvalidInputError):
        proxy.forward_backward([], "cross_entropy")
    with pytest.raises(ta.InvalidInputError):
        proxy.step.defer([], "cross_entropy")
    with pytest.raises(TypeError, match=r"^step\(\) of <proxy of .*: missing a required argument: 'data'"):
        proxy.step()
    with pytest.raises(TypeError, match=r"^get_info\(\) of <proxy of .*: got an unexpected keyword argument 'timout'"):
        proxy.get_info.defer(timout=3)
    with pytest.raises(ta.InvalidInputError):
        source.sample(PROMPT, 0, PARAMS)
    with pytest.raises(ta.InvalidInputError, match="max_in_flight"):
        source.with_options(max_in_flight=0)
    with pytest.raises(ta.InvalidInputError, match="timeout"):
        proxy.get_info(timeout="soon")
    with pytest.raises(ta.InvalidInputError, match="nan"):
        proxy.barrier(float("nan"))
    with pytest.raises(ta.InvalidInputError):
        service.proxy().create_lora_training_client("local/ledger", rank=0)
    with pytest.raises(ta.InvalidInputError, match="status"):
        service.proxy().close("well")
    assert not service.closed


def test_a_method_that_waits_is_a_future_of_what_it_waits_for(simulation, service, trainer):
    proxies = trainer.proxy(), service.create_sampling_client(base_model="local/ledger").proxy()
    training, sampling = proxies
    futures = [
        training.get_info(),
        sampling.get_base_model(timeout=1e9),
        sampling.get_sampler_handle(),
        trainer.policy("a").proxy().get_base_model(),
        trainer.policy("a").pin().proxy().get_base_model(timeout=None),
        service.proxy().get_server_capabilities(),
        training.barrier(),
        training.result(),
    ]
    info, name, handle, *names, capabilities, nothing, client = settle(simulation, *futures)
    assert [info.model_name, name, *names] == ["local/ledger"] * 4
    assert isinstance(handle, str)
    assert isinstance(capabilities, ta.GetServerCapabilitiesResponse)
    assert nothing is None
    assert client is trainer


def test_a_future_fails_when_its_time_is_over(simulation, service, trainer):
    proxy = trainer.proxy()
    futures = [proxy.get_info(timeout=0), proxy.result(0), proxy.barrier(0)]
    futures.append(service.proxy().get_server_capabilities(timeout=0))
    simulation.wait_for(*futures)
    for future in futures:
        with pytest.raises(ta.DeadlineExceededError):
            future.get(timeout=0)
    assert settle(simulation, proxy.result()) == [trainer], "creation went on"


def test_a_future_that_is_decided_in_time_stays_so(simulation, trainer):
    future = trainer.proxy().get_info(timeout=5)
    (info,) = settle(simulation, future)
    until = simulation.runtime.clock.now() + 10.0
    simulation.runtime.run_until(lambda: simulation.runtime.clock.now() > until)
    assert future.get() is info


def test_a_new_client_comes_when_the_server_has_made_it(simulation, service):
    proxy = service.proxy()
    made = proxy.create_lora_training_client("local/ledger", rank=4)
    sampled = proxy.create_sampling_client(base_model="local/ledger")
    assert not made.done()
    trainer, sampler = settle(simulation, made, sampled)
    assert isinstance(trainer, ta.TrainingClient)
    assert isinstance(sampler, ta.SamplingClient)
    assert trainer.done()
    saved = trainer.proxy().save_weights_and_get_sampling_client()
    (of_weights,) = settle(simulation, saved)
    future = of_weights.proxy().sample(PROMPT, 1, PARAMS)
    assert len(settle(simulation, future)[0].sequences) == 1
    failing = proxy.create_lora_training_client("no/such/model")
    simulation.wait_for(failing)
    with pytest.raises(ta.TinkerError, match="no/such/model"):
        failing.get(timeout=0)


def test_what_is_there_is_a_future_that_is_done(simulation, clients):
    service, trainer, sampler, policy, pin = (client.proxy() for client in clients.values())
    assert service.closed.get(timeout=0) is False
    assert service.events.get(timeout=0) is clients[ServiceClient].events
    assert trainer.done().get(timeout=0) is False
    assert policy.name.get(timeout=0) == "main"
    assert policy.max_lag.get(timeout=0) == 3
    assert policy.weights_version.get(timeout=0) is pin.weights_version.get(timeout=0) is None
    assert trainer.acknowledge_failure().get(timeout=0) is None
    view = sampler.with_options(priority="eval").get(timeout=0)
    assert isinstance(view, ta.SamplingClient)
    assert view is not clients[ta.SamplingClient]
    assert isinstance(policy.pin().get(timeout=0), ta.PinnedPolicy)
    heard = []
    trainer.add_done_callback(heard.append).get(timeout=0)
    simulation.wait_for(clients[ta.TrainingClient]._ready)
    simulation.runtime.run_until(lambda: heard)
    assert heard == [clients[ta.TrainingClient]]


def test_policies_are_published_and_sampled_through_proxies(simulation, trainer):
    policy = trainer.policy("main").proxy()
    published = policy.publish()
    first, scored = policy.sample(PROMPT, 1, PARAMS), policy.compute_logprobs(PROMPT)
    pinned = policy.pin().get(timeout=0).proxy()
    of_pin = pinned.sample(PROMPT, 1, PARAMS)
    version, response, logprobs, pins = settle(simulation, published, first, scored, of_pin)
    assert version == response.weights_version == pins.weights_version == pinned.weights_version.get() == 0
    assert logprobs[0] is None
    assert scored.filter(lambda logprob: logprob is not None).map(len).get(timeout=0) == 2
    fan_out = policy.map([PROMPT], 1, PARAMS).get(timeout=0)
    assert isinstance(fan_out, ta.FanOut)


def test_a_sample_that_nobody_wants_is_cancelled(simulation, service):
    sampler = service.create_sampling_client(base_model="local/ledger").proxy()
    future = sampler.sample(PROMPT, 1, ta.SamplingParams(max_tokens=1000))
    assert future.map(str).cancel()
    assert future.cancelled()


def test_a_sample_without_room_never_waits_in_its_callers_thread():
    """Directly it would wait for room, and on one thread for ever."""
    full = Simulation(0, CALM, queue_bytes=1, max_block=1e6)
    service = full.service()
    sampler = service.create_sampling_client(base_model="local/ledger")
    proxy = sampler.proxy()
    first = proxy.sample(PROMPT, 1, PARAMS)
    with pytest.raises(ta.QueueFullError, match="not even for waiting"):
        proxy.sample(PROMPT, 1, PARAMS)
    with pytest.raises(ta.QueueFullError):
        proxy.compute_logprobs.defer(PROMPT)
    assert settle(full, first)[0].sequences
    assert sampler._may_block
    full.close(service)


def test_samples_without_room_stand_in_line():
    full = Simulation(0, CALM, queue_bytes=9_000, max_block=1e6)
    service = full.service()
    proxy = service.create_sampling_client(base_model="local/ledger").proxy()
    futures = [proxy.sample(PROMPT, 1, PARAMS) for _ in range(4)]
    assert all(response.sequences for response in settle(full, *futures))
    full.close(service)


def test_a_deferred_call_is_made_and_logs_its_failure(simulation, trainer, caplog):
    gc.collect()
    unseen.report()
    caplog.clear()
    assert trainer.proxy().load_state.defer("tinker://no/weights/such") is None
    simulation.wait_for(trainer._barrier_future())
    gc.collect()
    unseen.report()
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "load_state" in record.getMessage()


def test_a_proxy_is_awaited(simulation, service):
    async def main():
        future = service.proxy().get_server_capabilities().map(type)
        while not future.done():
            simulation.runtime.step()
        return await future

    assert asyncio.run(main()) is ta.GetServerCapabilitiesResponse


# ---------------------------------------------------------------- what a proxy is


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize(
    "name", ["_service", "_client_", "_handle", "on_receive", "receive", "tell", "settle", "sumbit"]
)
def test_nothing_else_can_be_reached(clients, kind, name):
    proxy = clients[kind].proxy()
    with pytest.raises(AttributeError, match=rf"(?i)has no '{name}'; .*it offers {', '.join(dir(proxy))}."):
        getattr(proxy, name)
    assert not hasattr(proxy, name)


def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(trainer):
    with pytest.raises(AttributeError, match="has no 'optimstep'; did you mean 'optim_step'") as caught:
        _ = trainer.proxy().optimstep
    assert caught.value.name == "optimstep"


def test_a_type_error_of_the_clients_own_stays_as_it_is(trainer, monkeypatch):
    def forward(self, data, loss_fn, loss_fn_config=None):
        raise TypeError("within")

    monkeypatch.setattr(TrainingClient, "forward", forward)  # programs patch clients, to trace them
    with pytest.raises(TypeError, match=r"^within$"):
        trainer.proxy().forward([DATUM], "cross_entropy")


def test_the_awaited_twins_say_what_to_do_instead(trainer):
    with pytest.raises(AttributeError, match=r"await what forward_backward\(\) gives"):
        _ = trainer.proxy().forward_backward_async


@pytest.mark.parametrize("name", ["actor_ref", "closed", "close", "anything", "_client"])
def test_nothing_can_be_set_or_deleted(service, name):
    proxy = service.proxy()
    with pytest.raises(AttributeError, match=f"{name}' can't be set"):
        setattr(proxy, name, 1)
    with pytest.raises(AttributeError, match=f"{name}' can't be deleted"):
        delattr(proxy, name)


def test_dir_shows_what_there_is(clients):
    assert dir(clients[ta.PinnedPolicy].proxy()) == [
        "compute_logprobs", "get_base_model", "map", "sample", "weights_version", "with_options",
    ]  # fmt: skip
    assert {"step", "stop", "actor_ref", "get_info", "done"} <= set(dir(clients[ta.TrainingClient].proxy()))


def test_proxies_of_a_client_are_equal_and_show_it(clients):
    for client in clients.values():
        assert client.proxy() == client.proxy()
        assert len({client.proxy(), client.proxy()}) == 1
        assert repr(client.proxy()) == f"<proxy of {client!r}>"
    assert len({client.proxy() for client in clients.values()}) == len(clients)
    assert clients[ServiceClient].proxy() != clients[ServiceClient]


def test_a_proxy_stays_in_its_process(clients):
    with pytest.raises(TypeError, match="Pickle a sampling client itself"):
        pickle.dumps(clients[ta.TrainingClient].proxy())


# ---------------------------------------------------------------- the actor behind


def test_the_references_proxy_is_that_of_the_client(clients):
    for client in clients.values():
        if hasattr(client, "actor_ref"):
            assert client.actor_ref.proxy() == client.proxy()
            assert client.proxy().actor_ref is client.actor_ref


def test_a_view_whose_original_is_gone_is_found(service):
    view = service.create_sampling_client(base_model="local/ledger").with_options(priority="eval")
    gc.collect()
    assert isinstance(view.actor_ref.proxy(), ta.SamplingProxy)
    assert view.with_options(timeout=3).actor_ref.proxy() == view.actor_ref.proxy()


def test_an_actor_whose_client_is_gone_can_be_stopped(simulation, service):
    client = service.create_lora_training_client("local/ledger")
    future, ref = client.optim_step(), client.actor_ref
    del client
    gc.collect()
    proxy = ref.proxy()
    assert dir(proxy) == ["actor_ref", "stop"]
    with pytest.raises(AttributeError, match=r"has no 'optim_step'; it offers actor_ref, stop\."):
        _ = proxy.optim_step
    proxy.stop.defer()
    simulation.wait_for(future)
    with pytest.raises(ta.ClientClosedError):
        future.get(timeout=0)
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()


@pytest.mark.parametrize("defer", [False, True])
def test_stopping_settles_what_is_owed(simulation, service, trainer, defer):
    proxy = trainer.proxy()
    future = proxy.optim_step()
    assert proxy.stop.defer() is None if defer else proxy.stop().get(timeout=0) is None
    simulation.wait_for(future)
    with pytest.raises(ta.ClientClosedError):
        future.get(timeout=0)
    with pytest.raises(ta.ClientClosedError):
        proxy.optim_step().get(timeout=0)
    service.proxy().stop()
    simulation.wait_for(service._service.over)
    assert service.closed


INSIDES = [
    ProxyCall(("_perform",), (), {}),
    ProxyCall(("on_receive",), ("message",), {}),
    ProxyCall(("settle",), (ta.TinkerError(),), {}),
    ProxyCall(("executor", "run"), (), {}),
    ProxyGetAttr(("_service",)),
    ProxyGetAttr(("executor",)),
    ProxySetAttr(("ending",), None),
]


@pytest.mark.parametrize("message", INSIDES, ids=lambda message: f"{type(message).__name__} {message.attr_path}")
def test_pykkas_own_proxies_reach_no_insides_of_any_actor(simulation, service, trainer, message):
    inside = service._service
    refs = [trainer.actor_ref, service.actor_ref, inside.session, inside.registry, inside.lanes.keeper]
    for ref in [*refs, *inside.lanes.refs.values()]:
        answer = ref.ask(message, block=False)
        simulation.runtime.run_until(lambda answer=answer: answer._outcome is not None)
        with pytest.raises(AttributeError, match=r"none of what .* offers to proxies: stop"):
            answer.get(timeout=0)
        assert ref.is_alive()


def test_the_users_actor_may_show_proxies_as_attributes(clients):
    class Holder(pykka.ThreadingActor):
        def __init__(self, proxies):
            super().__init__()
            self.trainer = proxies[1]
            self.all = proxies

    proxies = [client.proxy() for client in clients.values()]
    ref = Holder.start(proxies)
    try:
        assert ref.proxy().trainer.get() == proxies[1]
        assert ref.proxy().all.get() == proxies
    finally:
        ref.stop()


def test_threads_share_a_proxy(simulation, trainer):
    proxy = trainer.proxy()
    futures = []
    threads = [threading.Thread(target=lambda: futures.append(proxy.step([DATUM], "cross_entropy"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(settle(simulation, *futures)) == 8


def test_what_was_called_through_a_proxy_that_is_gone_is_finished(simulation, service):
    proxy = service.create_lora_training_client("local/ledger").proxy()
    futures = [proxy.step([DATUM], "cross_entropy"), proxy.save_state("x")]
    proxy.step.defer([DATUM], "cross_entropy")
    del proxy
    gc.collect()
    simulation.close(service)
    assert all(future.done() for future in futures)
    assert futures[1].get(timeout=0).path


def test_a_proxy_holds_its_client_and_lets_go_of_it(simulation, service):
    proxy = service.create_lora_training_client("local/ledger").proxy()
    ref = proxy.actor_ref
    settle(simulation, proxy.get_info())
    gc.collect()
    assert ref.is_alive()
    del proxy
    gc.collect()
    simulation.runtime.run_until(lambda: not ref.is_alive())


def test_a_client_proxy_is_made_of_any_client():
    class Client:
        def get(self):
            return 1

    proxy = ClientProxy(Client())
    with pytest.raises(AttributeError, match="get"):
        proxy.get()
