"""Proxies: pykka's way to call a client, with futures that flatten."""

from __future__ import annotations

import gc
import logging

import pykka
import pytest

from tinker_actors.clients.proxy import ClientProxy
from tinker_actors.errors import InvalidInputError, RequestFailedError
from tinker_actors.runtime.failed_future import unseen
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker


class Client:
    """What a proxy expects of a client."""

    actor_ref = object()
    model_id = "m"

    def __init__(self):
        self.calls = []

    def submit(self, data, *, scale=1):
        if not data:
            raise InvalidInputError("the data are empty")
        self.calls.append((data, scale))
        self.last = APIFuture(Tracker("submit", 0.0), decode=lambda raw: raw * scale)
        return self.last

    async def submit_async(self, data):
        raise AssertionError("never called")

    def get_info(self):
        raise AssertionError("a proxy never waits")

    def _get_info_future(self):
        future = APIFuture(Tracker("get_info", 0.0))
        future._settle("info")
        return future

    def count(self):
        return len(self.calls)

    def _hidden(self):
        raise AssertionError("never called")

    def __repr__(self):
        return "<Client m>"


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def proxy(client):
    return ClientProxy(client)


def test_one_get_is_the_result(client, proxy):
    future = proxy.submit([1, 2], scale=3)
    assert future is client.last
    assert client.calls == [([1, 2], 3)]
    future._settle(5)
    assert future.get(timeout=0) == 15
    assert pykka.get_all([future, proxy.count()]) == [15, 1]


def test_a_method_that_waits_is_called_by_its_future(proxy):
    assert proxy.get_info().get(timeout=0) == "info"


def test_a_plain_result_is_a_future_that_is_done(proxy):
    future = proxy.count()
    assert isinstance(future, APIFuture)
    assert future.done()
    assert future.get() == 0
    assert future.progress().what == "count"


def test_arguments_are_checked_in_the_callers_thread(client, proxy):
    with pytest.raises(InvalidInputError, match="empty"):
        proxy.submit([])
    with pytest.raises(TypeError):
        proxy.submit()
    assert client.calls == []


@pytest.mark.parametrize("name", ["submit_async", "_hidden", "model_id"])
def test_what_is_no_plain_method_is_refused(proxy, name):
    with pytest.raises(InvalidInputError, match=name):
        getattr(proxy, name)


def test_what_is_not_there_is_an_attribute_error(proxy):
    with pytest.raises(AttributeError):
        proxy.sumbit  # noqa: B018 - looking is the point
    assert not hasattr(proxy, "sumbit")


def test_a_proxy_shows_its_client_and_its_actor(client, proxy):
    assert repr(proxy) == "<proxy of <Client m>>"
    assert proxy.actor_ref is client.actor_ref


def test_a_deferred_call_logs_its_failure(client, proxy, caplog):
    gc.collect()
    caplog.clear()
    assert proxy.submit.defer([1]) is None
    client.last._settle(error=RequestFailedError("nobody looks"))
    del client.last
    gc.collect()
    unseen.report()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "nobody looks" in record.getMessage()
