"""The event hub: callables, actors and proxies hear of what they asked for."""

from __future__ import annotations

import logging
from collections import deque

import pytest

from tinker_actors.events.records import ActorCrashed, Event, SessionCreated, SessionLost
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.delivery import run_callback
from tinker_actors.runtime.hub import EventHub
from tinker_actors.testing.step import StepRuntime

CREATED = SessionCreated("s1")
LOST = SessionLost("s1", ValueError("gone"))
CRASHED = ActorCrashed("lane", None)


class Later:
    """A delivery that the test runs."""

    def __init__(self):
        self.callbacks = deque()

    def post(self, callback):
        self.callbacks.append(callback)

    def run(self):
        while self.callbacks:
            run_callback(self.callbacks.popleft())


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def hub(later):
    return EventHub(later)


class Ear(RuntimeActor):
    def __init__(self, executor):
        super().__init__(executor)
        self.heard = []

    def receive(self, message):
        self.heard.append(message)


@pytest.mark.parametrize(
    ("kinds", "heard"),
    [
        ((), [CREATED, LOST, CRASHED]),
        ((Event,), [CREATED, LOST, CRASHED]),
        ((SessionLost,), [LOST]),
        ((SessionCreated, ActorCrashed), [CREATED, CRASHED]),
    ],
)
def test_a_subscriber_hears_of_the_classes_it_asked_for(hub, later, kinds, heard):
    seen = []
    hub.subscribe(seen.append, *kinds)
    for event in (CREATED, LOST, CRASHED):
        hub.emit(event)
    assert seen == []  # not in the thread that emits
    later.run()
    assert seen == heard


def test_actors_and_proxies_are_told(hub):
    runtime = StepRuntime(0)
    actors = [Ear(runtime) for _ in range(2)]
    hub.subscribe(actors[0].actor_ref, SessionLost)
    hub.subscribe(actors[1].actor_ref.proxy())
    hub.emit(CREATED)
    hub.emit(LOST)
    while runtime.step():
        pass
    assert [actor.heard for actor in actors] == [[LOST], [CREATED, LOST]]


def test_an_actor_that_is_gone_is_unsubscribed_and_the_others_hear(hub, later):
    runtime, seen = StepRuntime(0), []
    ref = Ear.start(runtime)
    hub.subscribe(ref)
    hub.subscribe(seen.append)
    ref.stop(block=False)
    while runtime.step():
        pass
    hub.emit(CREATED)
    later.run()
    assert seen == [CREATED]
    assert [target for target, _ in hub._subscribers.values()] == [seen.append]


class Listener:
    def __init__(self):
        self.seen = []

    def hear(self, event):
        self.seen.append(event)


def test_who_unsubscribed_hears_nothing_more(hub, later):
    runtime, listeners = StepRuntime(0), [Listener(), Listener()]
    actor = Ear(runtime)
    for listener in listeners:
        hub.subscribe(listener.hear)  # a bound method is a new object each time
    hub.subscribe(actor.actor_ref.proxy())
    hub.unsubscribe(listeners[0].hear)
    hub.unsubscribe(actor.actor_ref.proxy())
    hub.unsubscribe(len)  # never subscribed
    hub.emit(CREATED)
    later.run()
    assert [listener.seen for listener in listeners] == [[], [CREATED]]
    assert not runtime.step()


def test_a_subscriber_that_raises_harms_nobody(hub, later, caplog):
    seen = []

    def fail(event):
        raise SystemExit(event)

    hub.subscribe(fail)
    hub.subscribe(seen.append)
    hub.emit(CREATED)
    later.run()
    assert seen == [CREATED]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_subscribing_while_an_event_goes_out_waits_for_the_next_event(hub):
    runtime = StepRuntime(0)
    seen = []

    class Greedy:
        """Subscribes another one as soon as it is told."""

        def post(self, callback):
            hub.subscribe(seen.append)
            callback()

    hub._delivery = Greedy()
    hub.subscribe(lambda event: None)
    hub.emit(CREATED)
    assert seen == []
    assert not runtime.step()
