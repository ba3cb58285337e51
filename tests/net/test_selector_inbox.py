"""SelectorInbox: messages, sockets and timers in one thread, and no error gets out of it."""

from __future__ import annotations

import socket
import threading

import pytest

from tinker_actors.runtime.selector_inbox import READ, WRITE, SelectorInbox

from .owners import Owner

HANG = 30.0


def count_wakes(inbox, monkeypatch):
    wakes = []
    wake = inbox._wake
    monkeypatch.setattr(inbox, "_wake", lambda: (wakes.append(1), wake()))
    return wakes


def test_messages_come_out_in_order(inbox):
    for number in range(1000):
        inbox.put(number)

    assert [inbox.get() for _ in range(1000)] == list(range(1000))
    assert inbox.empty()


def test_a_waiting_lane_is_woken_by_a_message(lane):
    for number in range(200):
        lane.inbox.put(number)
        assert lane.messages.get(timeout=HANG) == number


def test_messages_from_many_threads_all_arrive(lane):
    def put():
        for number in range(2000):
            lane.inbox.put(number)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    total = sum(lane.messages.get(timeout=HANG) for _ in range(16_000))
    for thread in threads:
        thread.join()

    assert total == 8 * sum(range(2000))


def test_putting_into_a_busy_inbox_wakes_nobody(inbox, monkeypatch):
    wakes = count_wakes(inbox, monkeypatch)
    for number in range(500):
        inbox.put(number)
        inbox.post(lambda: None)
    for _ in range(500):
        inbox.get()

    assert not wakes


def test_a_sleeping_lane_is_woken_once_for_many_messages(lane, monkeypatch):
    wakes = count_wakes(lane.inbox, monkeypatch)
    lane.until(lambda: True)
    wakes.clear()
    hold, held = threading.Event(), threading.Event()
    lane.inbox.post(lambda: (held.set(), hold.wait(HANG)))
    held.wait(HANG)
    for number in range(100):
        lane.inbox.put(number)
    hold.set()
    for _ in range(100):
        lane.messages.get(timeout=HANG)

    assert len(wakes) <= 1


def test_a_message_that_comes_just_before_the_lane_falls_asleep_is_not_overlooked(lane, monkeypatch):
    """It is put after the lane looked for messages and before it says that it sleeps, so nobody wakes it."""
    time_to_wait = lane.inbox._time_to_wait
    late = ["late"]

    def look_and_be_late():
        timeout = time_to_wait()
        if timeout is None and late:
            lane.inbox.put(late.pop())
        return timeout

    monkeypatch.setattr(lane.inbox, "_time_to_wait", look_and_be_late)
    lane.inbox.put("first")

    assert [lane.messages.get(timeout=HANG) for _ in range(2)] == ["first", "late"]


def test_posted_callbacks_run_in_the_lanes_thread_in_order_and_never_inside_post(lane):
    seen = []

    def outer():
        lane.inbox.post(lambda: seen.append(("inner", threading.get_ident())))
        seen.append(("outer", threading.get_ident()))

    lane.call(outer)
    lane.call(lambda: None)

    assert seen == [("outer", lane.thread.ident), ("inner", lane.thread.ident)]


def test_timers_run_while_nothing_else_happens(lane):
    seen, rang = [], threading.Event()

    def set_timers():
        now = lane.clock.now()
        lane.inbox.timers.call_at(now + 0.03, lambda: (seen.append(2), rang.set()))
        lane.inbox.timers.call_at(now + 0.01, lambda: seen.append(1))

    lane.call(set_timers)

    assert rang.wait(HANG)
    assert seen == [1, 2]


def test_a_timer_that_makes_itself_due_again_does_not_hold_the_thread(lane):
    stop = threading.Event()

    def again():
        if not stop.is_set():
            lane.inbox.timers.call_at(0.0, again)

    lane.call(again)
    lane.inbox.put("through")

    assert lane.messages.get(timeout=HANG) == "through"
    stop.set()


def test_a_socket_callback_runs_when_there_is_something_to_read(lane, pair):
    ours, theirs = pair
    owner = Owner(ours)
    lane.call(lambda: lane.inbox.register(ours, READ, owner))
    assert not owner.ready.is_set()
    theirs.send(b"x")

    assert owner.ready.wait(HANG)
    assert owner.events == [READ]


def test_modify_and_unregister_take_effect(lane, pair):
    ours, theirs = pair
    owner = Owner(ours, on_ready=lambda: lane.inbox.modify(ours, READ))
    lane.call(lambda: lane.inbox.register(ours, READ, owner))
    lane.call(lambda: lane.inbox.modify(ours, READ | WRITE))
    assert owner.ready.wait(HANG)
    assert owner.events == [WRITE]
    lane.call(lambda: lane.inbox.unregister(ours))
    theirs.send(b"x")
    for _ in range(3):
        lane.call(lambda: None)

    assert owner.events == [WRITE]
    assert not owner.errors


def test_a_flooded_mailbox_does_not_starve_sockets_timers_and_posts(lane, pair):
    """Every message handled puts another one, so the mailbox is never empty until all three got through."""
    ours, theirs = pair
    owner, timer, post = Owner(ours), threading.Event(), threading.Event()

    def echo(message):
        if not (owner.ready.is_set() and timer.is_set() and post.is_set()):
            lane.inbox.put(message)

    lane.call(lambda: lane.inbox.register(ours, READ, owner))
    lane.on_message = echo
    for number in range(10_000):
        lane.inbox.put(number)
    theirs.send(b"x")
    lane.inbox.post(lambda: lane.inbox.timers.call_at(lane.clock.now() + 0.01, timer.set))
    lane.inbox.post(post.set)

    assert owner.ready.wait(HANG)
    assert timer.wait(HANG)
    assert post.wait(HANG)


def test_sockets_are_looked_at_at_least_every_64_messages(inbox, pair):
    ours, theirs = pair
    owner = Owner(ours)
    inbox.register(ours, READ, owner)
    for number in range(1000):
        inbox.put(number)
    theirs.send(b"x")
    taken = 0
    while not owner.events:
        inbox.get()
        taken += 1

    assert taken <= 65


def test_registering_a_closed_socket_raises(inbox):
    sock = socket.socket()
    sock.close()
    with pytest.raises((ValueError, OSError)):
        inbox.register(sock, READ, Owner(sock))


def test_after_close_messages_can_be_drained_and_put_and_nothing_raises(pair):
    inbox = SelectorInbox()
    ours, _ = pair
    inbox.register(ours, READ, Owner(ours))
    for number in range(200):
        inbox.put(number)
    inbox.close()
    inbox.close()
    inbox.put(200)
    inbox.post(lambda: None)
    drained = []
    while not inbox.empty():
        drained.append(inbox.get())

    assert drained == list(range(201))
    with pytest.raises(ValueError, match="closed"):
        inbox.register(ours, READ, Owner(ours))
    assert "closed" in repr(inbox)


def test_get_after_close_waits_for_a_late_message():
    inbox = SelectorInbox()
    inbox.close()
    thread = threading.Thread(target=lambda: inbox.put("late"))
    thread.start()

    assert inbox.get() == "late"
    thread.join()


def test_what_came_while_the_process_was_stopped_is_seen_before_timers_that_are_due(inbox, pair, monkeypatch):
    """A wait that was over when the process went on comes back empty, whatever is ready."""
    ours, theirs = pair
    story = []
    owner = Owner(ours, lambda: story.append(ours.recv(10)))
    inbox.register(ours, READ, owner)
    now, wait = inbox._now, inbox._poller.wait
    late = [0.0]

    def stopped(timeout):
        if not timeout:
            return wait(timeout)
        theirs.send(b"answer")
        late[0] += 5.0
        return []

    monkeypatch.setattr(inbox, "_now", lambda: now() + late[0])
    monkeypatch.setattr(inbox._poller, "wait", stopped)
    inbox.timers.call_at(now() + 1.0, lambda: (story.append("too late"), inbox.put("over")))

    assert inbox.get() == "over"
    assert story == [b"answer", "too late"]
