"""Several processes on one sampler: pickled clients, handles, and what a fork leaves alone."""

from __future__ import annotations

import base64
import contextlib
import copy
import gc
import http.server
import importlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import tinker_actors as ta
from tinker_actors.actors.lane import idempotency
from tinker_actors.actors.service import SamplerEntry
from tinker_actors.actors.supervisor import Close
from tinker_actors.clients import attachment
from tinker_actors.clients.attachment import SamplerState, rebuild_sampler
from tinker_actors.clients.trust import mark_of

from ..forked import Child, in_child, raised  # noqa: TID252 - the tests are no package that is installed
from ..pykka_internals import actor_of  # noqa: TID252 - the tests are no package that is installed
from .conftest import HANG
from .helpers import datum, eventually, prompt

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
GREEDY = ta.SamplingParams(max_tokens=4, temperature=0.0, stop=[])
NOWHERE = "https://tinker.example.com"


@pytest.fixture(autouse=True)
def linger(monkeypatch):
    """In this process, copies are let go of soon; with them go their lanes, which other tests count."""
    monkeypatch.setattr(attachment, "_LINGER", 0.05)
    return lambda seconds: monkeypatch.setattr(attachment, "_LINGER", seconds)


@pytest.fixture(scope="module", autouse=True)
def _no_copy_is_left():
    yield
    gc.collect()  # errors that were looked at lead back to the clients
    eventually(lambda: not attachment._attachments)


@pytest.fixture
def workers(monkeypatch):
    """The functions that other processes run; they find them by the path that they are given."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("process_workers")


@pytest.fixture
def sampler(service):
    return service.create_sampling_client(base_model="local/tiny")


def greedy(sampler, text: str) -> list[int]:
    return list(sampler.sample(prompt(text), 1, GREEDY).result(HANG).sequences[0].tokens)


def handle_of(**changes) -> str:
    """A handle like those of the official SDK, with something else in it."""
    holder = {"base_url": NOWHERE, "default_headers_overrides": {}, "client_config": {}, "client_dynamic_config": {}}
    holder |= {"api_key": None} | changes.pop("holder", {})
    fields = {"session_id": "s", "sampling_session_id": "s:sample:0", "holder": holder, "base_model": "b"} | changes
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


# ---------------------------------------------------------------- pickles


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_client_passed_to_a_pool_samples_from_the_same_sampler(sampler, workers, method):
    texts = ["one", "two", "three", "four"]
    expected = [greedy(sampler, text) for text in texts]
    with multiprocessing.get_context(method).Pool(2) as pool:
        done = pool.map_async(workers.continued, [(sampler, text) for text in texts], chunksize=1).get(HANG)
    assert [list(tokens) for tokens, _, _ in done] == expected
    clones = {(pid, clone) for _, pid, clone in done}
    assert os.getpid() not in {pid for pid, _ in clones}
    # One number for each process, however many copies it made, and not the original's.
    assert len(clones) == len({pid for pid, _ in clones}) == len({clone for _, clone in clones})
    assert 0 not in {clone for _, clone in clones}
    assert greedy(sampler, "one") == expected[0]


def test_a_copy_of_a_client_of_an_embedded_server_neither_starts_nor_stops_a_server(workers):
    with ta.ServiceClient(base_url="local:") as service:
        sampler = service.create_sampling_client(base_model="local/tiny")
        assert b"local:" not in pickle.dumps(sampler)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            tokens, _, _ = pool.apply_async(workers.continued, [(sampler, "x")]).get(HANG)
        assert greedy(sampler, "x") == list(tokens)


def test_a_pickle_and_a_handle_hold_no_credential():
    secrets = ("tml-a-secret-key", "header-secret", "proxy-secret")
    headers = {"X-Secret": secrets[1]}
    with ta.local_server(api_keys={secrets[0]: "me"}) as server:
        config = ta.Config(api_key=secrets[0], default_headers=headers)
        with ta.ServiceClient(base_url=server.url, config=config) as service:
            sampler = service.create_sampling_client(base_model="local/tiny")
            pickled, handle = pickle.dumps(sampler), sampler.get_sampler_handle()
    state = SamplerState("s", "s:sample:0", ta.Config(base_url=NOWHERE, proxy=f"http://u:{secrets[2]}@p"))
    for secret in secrets:
        assert secret.encode() not in pickled
        assert secret.encode() not in base64.urlsafe_b64decode(handle)
        assert secret.encode() not in pickle.dumps(state)


def test_a_copy_takes_its_key_from_its_own_environment(monkeypatch):
    with ta.local_server(api_keys={"tml-mine": "me"}) as server:
        service = ta.ServiceClient(base_url=server.url, api_key="tml-mine")
        sampler = service.create_sampling_client(base_model="local/tiny")
        pickled = pickle.dumps(sampler)
        with pytest.raises(ta.AuthenticationError):
            greedy(pickle.loads(pickled), "x")
        monkeypatch.setenv("TINKER_API_KEY", "tml-mine")
        assert greedy(pickle.loads(pickled), "x") == greedy(sampler, "x")
        service.close()


def test_where_a_copy_has_no_key_its_calls_say_so_and_not_the_unpickling():
    copied = rebuild_sampler(SamplerState("s", "s:sample:0", ta.Config(base_url=NOWHERE)))
    with pytest.raises(ta.ConfigError, match=r"no API key for tinker\.example\.com"):
        greedy(copied, "x")
    with pytest.raises(ta.ConfigError):
        copied.result(HANG)


@pytest.fixture
def address():
    """A server that answers nothing and keeps what it was sent."""
    heard: list[str] = []

    class Listening(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(str(self.headers))
            self.send_error(500)

        do_GET = do_POST  # noqa: N815 - the name http.server looks for

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}", heard
    web.shutdown()
    web.server_close()


def arrived_by_pickle(url, mark=""):
    return pickle.loads(pickle.dumps(SamplerState("s", "s:sample:0", ta.Config(base_url=url), mark=mark)))


@pytest.mark.parametrize("way", ["pickle", "handle", "wrong mark", "mark of another address"])
def test_an_address_from_outside_is_not_sent_the_key_of_this_process(address, way, monkeypatch):
    url, heard = address
    monkeypatch.setenv("TINKER_API_KEY", "tml-mine-alone")
    monkeypatch.setenv("CLOUDFLARE_ACCESS_CLIENT_SECRET", "mine-as-well")
    if way == "handle":
        copied = ta.SamplingClient.from_sampler_handle(handle_of(holder={"base_url": url}))
    else:
        marks = {"wrong mark": mark_of(url, "tml-other"), "mark of another address": mark_of(NOWHERE, "tml-mine-alone")}
        copied = rebuild_sampler(arrived_by_pickle(url, marks.get(way, "")))
    eventually(lambda: heard)
    assert not any("mine" in headers for headers in heard)
    del copied


@pytest.mark.parametrize("way", ["configured", "marked"])
def test_an_address_that_may_have_the_key_is_sent_it(address, way, monkeypatch):
    url, heard = address
    monkeypatch.setenv("TINKER_API_KEY", "tml-mine-alone")
    if way == "configured":
        monkeypatch.setenv("TINKER_BASE_URL", f"{url}/")
    copied = rebuild_sampler(arrived_by_pickle(url, mark_of(url, "tml-mine-alone") if way == "marked" else ""))
    eventually(lambda: heard)
    assert all("tml-mine-alone" in headers for headers in heard)
    del copied


def test_the_key_of_this_process_goes_to_no_other_machine_either(monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", "tml-mine-alone")
    copied = rebuild_sampler(arrived_by_pickle(NOWHERE))
    with pytest.raises(ta.ConfigError, match=r"tinker\.example\.com.*TINKER_BASE_URL"):
        copied.result(HANG)
    with pytest.raises(ta.ConfigError, match=r"tinker\.example\.com"):
        ta.SamplingClient.from_sampler_handle(handle_of())


@pytest.mark.parametrize("url", ["http://[", "ftp://x", "http://a b", "", None])
def test_a_pickle_with_an_address_that_is_none_fails_at_its_calls(url):
    copied = rebuild_sampler(arrived_by_pickle(url))
    with pytest.raises(ta.ConfigError):
        copied.result(HANG)


def test_pickling_waits_for_the_sampler_or_raises_its_error(service):
    copied = pickle.loads(pickle.dumps(service.create_sampling_client(base_model="local/tiny")))
    assert len(greedy(copied, "x")) == 4
    with pytest.raises(ta.BadRequestError, match="no/such"):
        pickle.dumps(service.create_sampling_client(base_model="no/such"))


def test_what_is_pickled_before_the_registry_published_it_has_its_sampler(service):
    sampler = service.create_sampling_client(base_model="local/tiny")
    made = sampler._ready.result(HANG)
    service._service.samplers.put(sampler._lease.key, SamplerEntry("creating"))
    copied = pickle.loads(pickle.dumps(sampler))
    service._service.samplers.put(sampler._lease.key, made)
    assert greedy(copied, "x") == greedy(sampler, "x")


def test_a_closed_client_is_not_pickled(server):
    with ta.ServiceClient(base_url=server.url) as service:
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    with pytest.raises(ta.ClientClosedError):
        pickle.dumps(sampler)
    with pytest.raises(ta.ClientClosedError):
        sampler.get_sampler_handle()


def test_copies_in_one_process_share_session_lanes_and_number(service, sampler):
    pickled = pickle.dumps(sampler)
    one, two = pickle.loads(pickled), copy.copy(sampler)
    other = pickle.loads(pickle.dumps(service.create_sampling_client(base_model="local/tiny")))
    assert greedy(one, "x") == greedy(two, "x") == greedy(other, "x")
    assert one._service is two._service is other._service
    assert one._service is not sampler._service
    assert one._service.lanes is sampler._service.lanes
    assert one._lease is two._lease
    # A copy of a copy is one of the same sampler too.
    assert pickle.loads(pickle.dumps(one))._lease is one._lease


def test_the_numbers_of_a_copy_begin_at_its_own_range(sampler):
    copied = pickle.loads(pickle.dumps(sampler))
    futures = [copied.sample(prompt("x"), 1, GREEDY) for _ in range(3)]
    for future in futures:
        future.result(HANG)
    clone = copied._lease.entry().clone_id
    assert clone >= 1
    again = copied.sample(prompt("x"), 1, GREEDY)
    assert again.accepted.result(HANG)
    assert next(copied._lease.numbers) == 4


def test_what_was_known_of_the_weights_goes_along(trainer, service):
    trainer.forward_backward([datum()], "cross_entropy")
    trainer.optim_step().result(HANG)
    sampler = trainer.save_weights_and_get_sampling_client()
    expected = sampler.sample(prompt("x"), 1, GREEDY).result(HANG)
    copied = pickle.loads(pickle.dumps(sampler))
    response = copied.sample(prompt("x"), 1, GREEDY).result(HANG)
    assert response.weights_version == expected.weights_version == 1
    assert copied.get_base_model() == "local/tiny"


def test_a_pickled_view_is_a_view_again(sampler):
    view = sampler.with_options(timeout=30.0, priority="eval", max_in_flight=2, retry=False, tags=["mine"])
    copied = pickle.loads(pickle.dumps(view))
    terms = copied._terms
    assert (terms.timeout, terms.priority, terms.retries, terms.tags) == (30.0, "eval", 0, ("mine",))
    assert terms.room.limit == 2
    assert terms.room is not view._terms.room
    assert greedy(copied, "x") == greedy(view, "x")
    assert copied._lease is pickle.loads(pickle.dumps(sampler))._lease


def test_a_copy_of_which_only_a_view_is_left_is_the_one_that_comes_again(sampler, linger):
    """Also when its minute is over: another one would take another number and more places at the server."""
    linger(0.0)
    view = pickle.loads(pickle.dumps(sampler)).with_options(priority="eval")
    assert greedy(view, "x") == greedy(sampler, "x")
    assert pickle.loads(pickle.dumps(sampler))._lease is view._lease


def test_a_copy_keeps_the_session_alive_by_itself(server):
    config = ta.Config(heartbeat_interval=0.05)
    with ta.ServiceClient(base_url=server.url, config=config) as service:
        copied = pickle.loads(pickle.dumps(service.create_sampling_client(base_model="local/tiny"))).result(HANG)
        session = actor_of(copied._service.session)
        assert session is not actor_of(service._service.session)
        first = session._last_sign
        eventually(lambda: session._last_sign > first)


def test_the_end_of_a_copy_ends_nothing_else(service, sampler):
    copied = pickle.loads(pickle.dumps(sampler))
    assert greedy(copied, "x") == greedy(sampler, "x")
    attached = copied._service
    # As when the copy was let go of and its minute is over.
    attached.supervisor.tell(Close("success", None, 0.0))
    attached.over.result(HANG)
    assert not attached.session.is_alive()
    assert greedy(sampler, "y")
    assert service.create_sampling_client(base_model="local/tiny").result(HANG)


def test_a_copy_that_nobody_holds_is_kept_for_the_next_task(sampler, linger):
    linger(2.0)
    pickled = pickle.dumps(sampler)
    service = pickle.loads(pickled)._service
    assert pickle.loads(pickled)._service is service


def test_a_copy_that_nobody_holds_is_let_go_of_when_its_time_is_over(sampler):
    copied = pickle.loads(pickle.dumps(sampler))
    greedy(copied, "x")
    service = copied._service
    del copied
    eventually(lambda: not service.session.is_alive())
    assert greedy(pickle.loads(pickle.dumps(sampler)), "x") == greedy(sampler, "x")


def test_when_the_service_is_closed_the_copies_fail_clearly(server, workers):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    service = ta.ServiceClient(base_url=server.url)
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    child = context.Process(target=workers.samples_until_it_fails, args=(sampler, theirs))
    child.start()
    try:
        assert ours.poll(HANG)
        assert ours.recv() == "sampling"
        service.close()
        assert ours.poll(HANG)
        assert ours.recv() == ("SessionLostError", "SessionLostError")
    finally:
        child.join(HANG)
    assert child.exitcode == 0


def test_a_copy_whose_session_is_gone_before_it_begins_fails_clearly(server):
    service = ta.ServiceClient(base_url=server.url)
    pickled = pickle.dumps(service.create_sampling_client(base_model="local/tiny"))
    service.close()
    for _ in range(2):  # a second copy makes a new attempt
        with pytest.raises(ta.SessionLostError):
            greedy(pickle.loads(pickled), "x")


def test_a_server_that_is_gone_while_a_copy_joins_fails_its_samples():
    config = ta.Config(creation_timeout=0.5, connect_timeout=0.5)
    with ta.local_server() as server:
        service = ta.ServiceClient(base_url=server.url, config=config)
        pickled = pickle.dumps(service.create_sampling_client(base_model="local/tiny"))
        service.close()
        server.kill()
        with pytest.raises(ta.APIConnectionError):
            greedy(pickle.loads(pickled), "x")


# ---------------------------------------------------------------- handles


def test_a_handle_works_in_another_process(sampler, workers):
    handle = sampler.get_sampler_handle()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        tokens, _, clone = pool.apply_async(workers.continued_by_handle, [(handle, "x")]).get(HANG)
    assert list(tokens) == greedy(sampler, "x")
    assert clone > 0


def test_a_handle_has_the_official_shape(sampler, server):
    read = json.loads(base64.urlsafe_b64decode(sampler.get_sampler_handle()))
    assert set(read) == {"session_id", "sampling_session_id", "holder", "base_model", "record_stability_info"}
    holder = read["holder"]
    assert holder["base_url"] == server.url
    assert holder["api_key"] is None
    assert holder["client_config"]["sample_join_sampling_session"] is True
    assert read["base_model"] == "local/tiny"
    assert read["sampling_session_id"].startswith(read["session_id"])


def test_a_service_reads_handles_of_its_own_server_only(service, sampler):
    handle = sampler.get_sampler_handle()
    assert greedy(service.create_sampling_client_from_handle(handle), "x") == greedy(sampler, "x")
    with pytest.raises(ta.InvalidInputError, match="another"):
        service.create_sampling_client_from_handle(handle_of())


def test_a_key_is_not_sent_to_a_server_that_only_a_handle_names(monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", "tml-mine")
    with pytest.raises(ta.ConfigError, match="base_url="):
        ta.SamplingClient.from_sampler_handle(handle_of())
    with ta.local_server(api_keys={"tml-mine": "me"}) as server, ta.ServiceClient(base_url=server.url) as service:
        sampler = service.create_sampling_client(base_model="local/tiny")
        handle, expected = sampler.get_sampler_handle(), greedy(sampler, "x")
        make = ta.SamplingClient.from_sampler_handle
        with pytest.raises(ta.AuthenticationError):
            greedy(make(handle), "x")
        assert greedy(make(handle, api_key="tml-mine"), "x") == expected
        assert greedy(make(handle, base_url=server.url + "/"), "x") == expected
        monkeypatch.setenv("TINKER_BASE_URL", server.url)
        assert greedy(make(handle), "x") == expected


def test_an_address_that_is_given_is_the_one_that_is_used(sampler, server):
    handle = sampler.get_sampler_handle()
    read = json.loads(base64.urlsafe_b64decode(handle))
    read["holder"]["base_url"] = NOWHERE
    elsewhere = base64.urlsafe_b64encode(json.dumps(read).encode()).decode().rstrip("=")
    copied = ta.SamplingClient.from_sampler_handle(elsewhere, base_url=server.url)
    assert greedy(copied, "x") == greedy(sampler, "x")


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "not base64!",
        "AAAA",
        "x" * 70_000,
        base64.urlsafe_b64encode(b"[" * 40_000).decode(),
        base64.urlsafe_b64encode(b'{"session_id": ' + b"[" * 40_000).decode(),
        handle_of(session_id=7),
        handle_of(session_id=""),
        handle_of(session_id="a b"),
        handle_of(session_id="a\r\nX-Evil: 1"),
        handle_of(sampling_session_id="s" * 300),
        handle_of(holder={"base_url": 5}),
        handle_of(holder={"base_url": "http://[::1"}),
        handle_of(holder={"base_url": "nonsense"}),
        handle_of(holder={"api_key": "tml-leaked"}),
        handle_of(base_model="m" * 2000),
        None,
    ],
)
def test_what_is_no_handle_is_refused_without_repeating_it(handle):
    with pytest.raises(ta.InvalidInputError, match=r"^(This is no|A) sampler handle") as error:
        ta.SamplingClient.from_sampler_handle(handle)
    assert "tml-leaked" not in str(error.value)


# ---------------------------------------------------------------- forks


def test_every_call_on_the_parents_clients_raises_in_a_child_and_the_parent_goes_on(service, trainer):
    trainer.result(HANG)
    sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
    finished = sampler.sample(prompt("x"), 1, GREEDY)
    finished.result(HANG)
    undecoded = sampler.sample(prompt("y"), 1, GREEDY)
    eventually(undecoded.done)
    long = ta.SamplingParams(max_tokens=300, stop=[])
    busy = [sampler.sample(prompt(f"{i}"), 1, long) for i in range(40)]
    step = trainer.forward_backward([datum()], "cross_entropy")
    calls = {
        "sample": lambda: sampler.sample(prompt("x"), 1, GREEDY),
        "compute_logprobs": lambda: sampler.compute_logprobs(prompt("x")),
        "get_base_model": sampler.get_base_model,
        "pickle": lambda: pickle.dumps(sampler),
        "handle": sampler.get_sampler_handle,
        "proxy": lambda: sampler.proxy().sample(prompt("x"), 1, GREEDY),
        "forward_backward": lambda: trainer.forward_backward([datum()], "cross_entropy"),
        "optim_step": trainer.optim_step,
        "save_state": lambda: trainer.save_state("x"),
        "get_info": trainer.get_info,
        "barrier": trainer.barrier,
        "sampling client of the trainer": trainer.save_weights_and_get_sampling_client,
        "another model": lambda: service.create_lora_training_client("local/tiny"),
        "another sampler": lambda: service.create_sampling_client(base_model="local/tiny"),
        "capabilities": service.get_server_capabilities,
        "tree": service.tree,
        "close": service.close,
        "actor": lambda: sampler.actor_ref.ask("anything"),
    }

    def child():
        seen = {name: raised(call) for name, call in calls.items()}
        pending = [future for future in busy if future._state == "RUNNING"]
        seen["results"] = {raised(future.result) for future in pending} if pending else {"ForkedError"}
        with service:
            pass  # leaving the block is no call, and ends nothing
        return seen, finished.result(0).sequences[0].tokens, len(undecoded.result(0).sequences[0].tokens)

    sockets = lanes_of(service)
    seen, tokens, count = in_child(child)
    assert seen == dict.fromkeys(calls, "ForkedError") | {"results": {"ForkedError"}}
    assert list(tokens) == list(finished.result(0).sequences[0].tokens)
    assert count == 4
    for future in [*busy, step, trainer.optim_step()]:
        future.result(HANG)
    assert lanes_of(service) == sockets
    assert greedy(sampler, "x") == list(tokens)


def lanes_of(service) -> dict[str, object]:
    return dict(service._service.lanes.refs)


def test_a_client_made_in_the_child_works_there(server, service, sampler):
    expected = greedy(sampler, "x")
    pickled = pickle.dumps(sampler)

    def child():
        with ta.ServiceClient(base_url=server.url) as own:
            made = own.create_sampling_client(base_model="local/tiny")
            trainer = own.create_lora_training_client("local/tiny", rank=2)
            trainer.forward_backward([datum()], "cross_entropy").result(HANG)
            copied = pickle.loads(pickled)
            return greedy(made, "x"), greedy(copied, "x"), copied._lease.entry().clone_id

    first, second = Child(child), Child(child)
    mine, copied, one = first.result()
    assert mine == copied == expected
    assert second.result()[2] != one
    assert greedy(sampler, "x") == expected


def test_a_child_does_not_repeat_its_parents_idempotency_keys():
    assert len({idempotency._prefix, *(in_child(lambda: idempotency._prefix) for _ in range(2))}) == 3


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_worker_that_multiprocessing_forked_is_told_and_one_that_unpickles_works(sampler, workers):
    sampler.result(HANG)
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        # The argument is pickled, so the worker has a copy of its own.
        tokens, _, _ = pool.apply_async(workers.continued, [(sampler, "x")]).get(HANG)
    assert list(tokens) == greedy(sampler, "x")
    inherited = context.Process(target=workers.fails, args=((sampler, "x"),))
    inherited.start()
    inherited.join(HANG)
    assert inherited.exitcode == 1  # ForkedError is raised by the call itself


PROGRAM = """
import os, sys
import tinker_actors as ta
from tinker_actors.clients import local_door
params = ta.SamplingParams(max_tokens=4, temperature=0.0, stop=[])
prompt = ta.ModelInput.from_ints([1, 2, 3])
read_end, write_end = os.pipe()
service = ta.ServiceClient(base_url="local:")
with service:
    trainer = service.create_lora_training_client("local/tiny", rank=2).result(60)
    sampler = service.create_sampling_client(base_model="local/tiny")
    first = sampler.sample(prompt, 1, params).result(60).sequences[0].tokens
    busy = [sampler.sample(prompt, 1, ta.SamplingParams(max_tokens=200, stop=[])) for _ in range(20)]
    server = local_door._houses["local:"].server
    process = server._child
    quick = os.fork()
    if quick == 0:
        del busy, sampler, trainer  # and no finalizer speaks to the parent's actors
        sys.exit(3)  # leaves the block, runs finalizers and exit handlers
    slow = os.fork()
    if slow == 0:
        os.close(write_end)
        os.read(read_end, 1)  # lives as long as the parent
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(quick, 0)[1]) == 3
    assert all(future.result(60) for future in busy)
    assert list(sampler.sample(prompt, 1, params).result(60).sequences[0].tokens) == list(first)
assert process.returncode == 0, process.returncode  # it noticed the end of its owner, with a child of his alive
os.close(write_end)
os.waitpid(slow, 0)
print("fine")
"""


def test_a_server_started_in_the_parent_is_the_parents(tmp_path):
    with ta.local_server() as server:
        process, folder = server._child, server.data_dir
        url = server.url

        def leave():
            assert server.url == url
            server.stop()

        in_child(leave)
        assert folder.exists()
        read_end, write_end = os.pipe()

        def live_on():
            os.close(write_end)
            os.read(read_end, 1)

        child = Child(live_on)
        with ta.ServiceClient(base_url=url) as service:
            assert service.get_server_capabilities()
    # It ended by itself, at the end of its stdin, and was not killed after a while.
    assert process.returncode == 0
    os.close(write_end)
    child.result()
    os.close(read_end)


def test_no_lock_of_the_process_stays_held_in_a_child(service, trainer):
    """Whatever locks the modules have, and the objects that belong to the process: others are of no use there."""
    trainer.result(HANG)
    held, go_on = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as stack:
            for lock in process_locks().values():
                stack.enter_context(lock)
            held.set()
            go_on.wait(HANG)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(HANG)
    try:
        child = Child(lambda: [name for name, lock in process_locks().items() if not lock.acquire(blocking=False)])
    finally:
        go_on.set()
        holder.join(HANG)
    assert child.result() == []
    assert len(process_locks()) >= 6


def process_locks() -> dict[str, Any]:
    """The locks in the modules of the client, and in the objects of the client that are in modules."""
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    found = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(tuple(f"tinker_actors.{room}" for room in ("runtime", "net", "actors", "clients"))):
            for name, value in vars(module).items():
                ours = type(value).__module__.startswith("tinker_actors.")
                inner = getattr(value, "__dict__", {}) if ours else {}
                for path, item in [(name, value), *((f"{name}.{each}", held) for each, held in inner.items())]:
                    if isinstance(item, kinds):
                        found[id(item)] = (f"{module_name}.{path}", item)
    return dict(found.values())


def test_the_exit_of_a_child_touches_neither_session_nor_embedded_server(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM],
        check=False, env=environment, capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
