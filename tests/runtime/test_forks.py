"""After a fork: nothing of the parent's is used, nothing hangs, and everything can be made anew."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import contextlib
import gc
import os
import queue
import socket
import threading
from functools import partial

import pytest

from tinker_actors.errors import ForkedError
from tinker_actors.net.connector import shared_connector
from tinker_actors.runtime import decoding, delivery, forks, threads
from tinker_actors.runtime.clock import MonotonicClock
from tinker_actors.runtime.delivery import bridge_to, default_delivery
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.futures import APIFuture, resolved
from tinker_actors.runtime.hub import EventHub
from tinker_actors.runtime.lane_thread import LaneThread
from tinker_actors.runtime.progress import Tracker
from tinker_actors.runtime.selector_inbox import READ, SelectorInbox

from ..forked import Child, in_child, raised  # noqa: TID252 - the tests are no package that is installed
from .conftest import HANG, Ours


def pending() -> APIFuture[int]:
    return APIFuture(Tracker("forward_backward", 0.0))


@pytest.fixture
def resets():
    """The registry, with what a test adds taken out again."""
    before = list(forks._resets)
    yield
    forks._resets[:] = before


def test_resets_run_in_the_child_only_and_in_order(resets):
    ran: list[int] = []
    for number in range(3):
        forks.on_fork(lambda number=number: ran.append(number))
    assert in_child(lambda: list(ran)) == [0, 1, 2]
    assert ran == []


def test_a_reset_that_fails_is_logged_and_the_others_run(resets, caplog):
    ran: list[str] = []
    forks.on_fork(lambda: 1 / 0)
    forks.on_fork(lambda: ran.append("later"))
    shown = in_child(lambda: (list(ran), caplog.text))
    assert shown[0] == ["later"]
    assert "ZeroDivisionError" in shown[1]


def test_what_the_parent_made_is_refused_in_the_child_and_in_the_childs_child():
    made = forks.epoch
    forks.check_not_forked("sample", made)

    def generations():
        own = forks.epoch
        mine = raised(lambda: forks.check_not_forked("sample", own))
        theirs = in_child(lambda: [raised(partial(forks.check_not_forked, "sample", one)) for one in (made, own)])
        return raised(lambda: forks.check_not_forked("sample", made)), mine, theirs

    assert in_child(generations) == ("ForkedError", "nothing", ["ForkedError", "ForkedError"])


def test_the_error_says_what_was_called_and_what_to_do():
    error = forks.forked_error("sample")
    assert isinstance(error, ForkedError)
    assert "sample" in str(error)
    assert "spawn" in str(error.advice)


def test_finalizers_of_the_parent_do_nothing_in_the_child():
    ended: list[str] = []

    class Owner:
        pass

    owners = [Owner(), Owner()]
    for owner, name in zip(owners, ("first", "second"), strict=True):
        forks.finalize(owner, ended.append, name)

    del owner

    def collect():
        owners[:] = [Owner()]
        forks.finalize(owners[0], ended.append, "the child's")
        owners.clear()
        gc.collect()
        return list(ended)

    assert in_child(collect) == ["the child's"]
    owners.pop()
    assert ended == ["second"]


@pytest.mark.parametrize(
    "use",
    [
        lambda future: future.result(),
        lambda future: future.result(HANG),
        lambda future: future.get(),
        lambda future: future.accepted.result(HANG),
        lambda future: asyncio.run(future.result_async()),
        lambda future: asyncio.run(asyncio.wait_for(future.coroutine(), HANG)),
    ],
)
def test_a_pending_future_of_the_parent_raises_at_once(use):
    future = pending()
    with future._condition:  # as when a lane was just about to settle it
        child = Child(lambda: raised(lambda: use(future)))
    assert child.result() == "ForkedError"
    future._settle(7)
    assert future.result(0) == 7


def test_nothing_else_that_is_done_with_a_pending_future_of_the_parent_hangs():
    futures = [pending() for _ in range(5)]

    def use():
        heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        futures[0].add_done_callback(lambda future: heard.put(raised(future.result)))
        return (
            heard.get(timeout=HANG),
            type(futures[1].exception()).__name__,
            futures[2].cancel(),
            raised(lambda: concurrent.futures.wait(futures[3:4])),
            raised(lambda: next(concurrent.futures.as_completed(futures[4:]))),
        )

    assert in_child(use) == ("ForkedError", "ForkedError", False, "ForkedError", "ForkedError")
    assert not any(future.done() for future in futures)


def test_a_result_that_was_there_can_be_read_whoever_held_the_lock():
    decoded = APIFuture(Tracker("sample", 0.0), decode=lambda raw: raw * 2)
    decoded._settle(21)
    failed = pending()
    failed._settle(error=ValueError("why"))

    def read():
        heard: queue.SimpleQueue[int] = queue.SimpleQueue()
        decoded.add_done_callback(lambda future: heard.put(future.result()))
        return (
            decoded.done(),
            decoded.result(),
            raised(failed.result),
            asyncio.run(decoded.coroutine()),
            heard.get(timeout=HANG),
        )

    holding, forked = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as locks:
            for lock in (decoded._condition, failed._condition, *decoding._locks):
                locks.enter_context(lock)
            holding.set()
            forked.wait(HANG)

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait(HANG)
    child = Child(read)
    forked.set()
    holder.join(HANG)
    assert child.result() == (True, 42, "ValueError", 42, 42)
    with pytest.raises(ValueError, match="why"):
        failed.result()


def test_futures_made_in_the_child_work_there():
    def use():
        future = pending()
        threading.Timer(0.01, lambda: future._settle(3)).start()
        return future.result(HANG), asyncio.run(resolved(4).coroutine())

    assert in_child(use) == (3, 4)


def test_callbacks_run_in_the_child_on_a_thread_of_its_own_and_the_parents_are_left_to_the_parent():
    busy, free = threading.Event(), threading.Event()
    default_delivery.post(lambda: (busy.set(), free.wait(HANG)))
    assert busy.wait(HANG)
    ran: list[str] = []
    default_delivery.post(lambda: ran.append("the parent's"))

    def use():
        done = threading.Event()
        default_delivery.post(done.set)
        return done.wait(HANG), list(ran)

    child = Child(use)
    free.set()
    assert child.result() == (True, [])
    done = threading.Event()
    default_delivery.post(done.set)
    assert done.wait(HANG)
    assert ran == ["the parent's"]


def test_the_bridges_of_loops_begin_anew():
    loop = asyncio.new_event_loop()
    bridge = bridge_to(loop)
    bridge._called = True  # a wake-up that the child will never see

    def use():
        fresh = bridge_to(loop)
        future = pending()
        threading.Timer(0.01, lambda: future._settle(5)).start()
        return fresh is bridge, loop.run_until_complete(asyncio.wait_for(future.coroutine(), HANG))

    with delivery._bridges_guard:
        child = Child(use)
    assert child.result() == (False, 5)
    loop.close()


def test_an_actor_of_the_parent_refuses_messages_in_the_child_and_a_new_dispatcher_works():
    dispatcher = Dispatcher()
    ref = Ours.start(dispatcher)
    assert ref.ask("there?", timeout=HANG) == "there?"

    def use():
        new = Ours.start(Dispatcher())
        return (
            raised(lambda: ref.tell("hello")),
            raised(lambda: ref.ask("hello", timeout=HANG)),
            raised(lambda: Ours.start(dispatcher)),
            new.ask("there?", timeout=HANG),
        )

    child = Child(use)
    assert child.result() == ("ForkedError", "ForkedError", "ForkedError", "there?")
    assert ref.ask("still there?", timeout=HANG) == "still there?"
    ref.stop()


def test_a_lane_of_the_parent_refuses_messages_in_the_child_and_its_sockets_are_closed_there():
    inbox = SelectorInbox()
    ref = Ours.start(LaneThread("fork-lane", inbox, MonotonicClock()))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    class Owner:
        def on_ready(self, events):
            heard.put(ours.recv(100))

        def on_lost(self, error):
            heard.put(repr(error).encode())

    ref.ask(lambda _: inbox.register(ours, READ, Owner()), timeout=HANG)
    fd = ours.fileno()
    theirs_fd = theirs.fileno()

    def use():
        return raised(lambda: ref.tell("hello")), raised(lambda: os.fstat(fd)), raised(lambda: os.fstat(theirs_fd))

    assert in_child(use) == ("ForkedError", "OSError", "nothing")
    # The parent's lane still hears of the socket, and the child has closed nothing but its own copy.
    theirs.send(b"news")
    assert heard.get(timeout=HANG) == b"news"
    ref.ask(lambda _: inbox.unregister(ours), timeout=HANG)
    ours.close()
    theirs.close()
    ref.stop()


def test_the_end_of_a_connection_is_heard_although_a_child_lives_on():
    """The child's copies of the parent's descriptors would keep a connection open that the parent has closed."""
    inbox = SelectorInbox()
    ref = Ours.start(LaneThread("fork-lane", inbox, MonotonicClock()))
    ours, theirs = socket.socketpair()

    class Owner:
        def on_ready(self, events):
            pass

        def on_lost(self, error):
            pass

    ours.setblocking(False)
    ref.ask(lambda _: inbox.register(ours, READ, Owner()), timeout=HANG)
    go_on, gone = os.pipe()

    def live_on():
        os.close(gone)
        os.read(go_on, 1)

    child = Child(live_on)
    ref.ask(lambda _: inbox.unregister(ours), timeout=HANG)
    ours.close()
    theirs.settimeout(HANG)
    assert theirs.recv(1) == b""
    os.close(gone)
    child.result()
    os.close(go_on)
    theirs.close()
    ref.stop()


def test_threads_of_the_parent_do_not_count_as_our_own_in_the_child():
    with threads.as_own_thread():
        assert threads.on_own_thread()
        assert in_child(threads.on_own_thread) is False


def test_the_connector_begins_anew():
    connector = shared_connector()
    with connector._condition:
        child = Child(lambda: (shared_connector() is connector, shared_connector().threads()))
    assert child.result() == (False, ())


def test_subscribing_to_the_parents_events_is_refused():
    hub = EventHub(default_delivery)
    assert in_child(lambda: (raised(lambda: hub.subscribe(print)), hub.unsubscribe(print))) == ("ForkedError", None)


def test_a_module_that_another_thread_is_importing_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import threading\nGO.set()\nON.wait(60)\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(forks, "_PACKAGE", "slow_to_import")
    go, on = threading.Event(), threading.Event()
    monkeypatch.setattr(builtins, "GO", go, raising=False)
    monkeypatch.setattr(builtins, "ON", on, raising=False)
    importing = threading.Thread(target=__import__, args=("slow_to_import",))
    importing.start()
    assert go.wait(HANG)
    # The fork below begins while the import is under way, and can't end before it.
    threading.Timer(0.05, on.set).start()
    child = Child(lambda: __import__("slow_to_import").VALUE)
    waited = on.is_set()
    assert child.result() == 1
    assert waited
    importing.join(HANG)
