"""Beside a host program that uses pykka: neither can stop the other."""

from __future__ import annotations

import pykka
import pytest

from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.dispatcher import Dispatcher

HANG = 30.0
FATAL = [SystemExit, KeyboardInterrupt, GeneratorExit]


def raising(error):
    def plan(_actor):
        raise error

    return plan


class Host(pykka.ThreadingActor):
    """An actor of the program that uses this package."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = []

    def on_receive(self, message):
        if callable(message):
            return message()
        self.heard.append(message)
        return list(self.heard)


@pytest.fixture
def host():
    ref = Host.start()
    yield ref
    pykka.ActorRegistry.stop_all(block=True, timeout=HANG)


def test_our_actors_are_not_in_pykkas_registry(host, world):
    _, ref = world.spawn()
    assert ref not in pykka.ActorRegistry.get_all()
    assert pykka.ActorRegistry.get_by_class(RuntimeActor) == []
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None
    assert RuntimeActor.start(world.executor()) not in pykka.ActorRegistry.get_all()
    assert pykka.ActorRegistry.get_all() == [host]


def test_the_hosts_stop_all_and_broadcast_do_not_reach_us(host, world):
    actor, ref = world.spawn()
    pykka.ActorRegistry.broadcast("to all")
    pykka.ActorRegistry.broadcast("to a class", target_class=pykka.Actor)
    assert host.ask("?", timeout=HANG) == ["to all", "to a class", "?"]
    pykka.ActorRegistry.stop_all(block=True, timeout=HANG)
    assert not host.is_alive()
    assert world.ask(ref, "alive") == "alive"
    assert actor.log == [("on_start",), "alive"]


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
def test_a_dying_host_actor_does_not_reach_us(host, world, kind):
    error = kind("wrong")
    _, ref = world.spawn()

    def die():
        raise error

    host.tell(die)
    assert host.actor_stopped.wait(HANG)
    assert world.ask(ref, "alive") == "alive"


@pytest.mark.parametrize("kind", FATAL)
def test_a_fatal_error_of_ours_does_not_stop_the_hosts_actors(host, world, kind):
    error = kind("wrong")
    actor, ref = world.spawn()
    ref.tell(raising(error))
    world.wait_gone(actor)
    assert host.ask("alive", timeout=HANG) == ["alive"]


def test_a_host_actor_that_asks_one_of_ours_survives_its_fatal_error(host):
    dispatcher = Dispatcher()

    class Fatal(RuntimeActor):
        def receive(self, message):
            raise SystemExit(message)

    ref = Fatal.start(dispatcher)
    with pytest.raises(pykka.ActorDeadError):
        host.ask(lambda: ref.ask("die", timeout=HANG), timeout=HANG)
    assert host.ask("alive", timeout=HANG) == ["alive"]
