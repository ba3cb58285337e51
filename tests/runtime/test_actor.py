"""The actor contract: pykka's own where it has one, and the same whoever runs the actor."""

from __future__ import annotations

import logging
import threading

import pykka
import pytest
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from tinker_actors.runtime.actor import Describe, Ping, guarded, tell
from tinker_actors.runtime.pykka_internals import ActorStop, Envelope

HANG = 30.0
FATAL = [SystemExit, KeyboardInterrupt, GeneratorExit]


def raising(error):
    def plan(_actor):
        raise error

    return plan


def logged(caplog, error):
    """Return whether an error was logged with its traceback."""
    return any(each.levelno == logging.ERROR and each.exc_info and each.exc_info[1] is error for each in caplog.records)


# ---------------------------------------------------------------- as with pykka


def test_messages_are_handled_in_order_and_asks_are_answered(any_world):
    actor, ref = any_world.spawn()
    for number in range(50):
        ref.tell(number)
    assert any_world.ask(ref, "last") == "last"
    assert actor.log == [("on_start",), *range(50), "last"]


def test_an_exception_on_ask_goes_to_the_asker_and_the_actor_lives(any_world):
    actor, ref = any_world.spawn()
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong") as caught:
        any_world.ask(ref, raising(error))
    assert caught.value is error
    assert ref.is_alive()
    assert any_world.ask(ref, "still there") == "still there"
    assert actor.log == [("on_start",), "still there"]


def test_an_exception_on_tell_kills_the_actor_and_runs_on_failure(any_world):
    actor, ref = any_world.spawn()
    error = ValueError("wrong")
    ref.tell(raising(error))
    any_world.wait_gone(actor)
    assert actor.log[:2] == [("on_start",), ("on_failure", error)]
    assert not ref.is_alive()


def test_messages_before_a_stop_are_handled_and_on_stop_runs(any_world):
    actor, ref = any_world.spawn()
    ref.tell("before")
    assert any_world.stop(ref) is True
    assert actor.log == [("on_start",), "before", ("on_stop",)]
    assert not ref.is_alive()
    assert any_world.stop(ref) is False


def test_messages_behind_a_stop_are_answered_with_actor_dead(any_world):
    actor, ref = any_world.spawn()
    hold = threading.Event()
    ref.tell(lambda _: hold.wait(0 if any_world.step else HANG))
    stopping = ref.stop(block=False)
    asked, stopping_again = ref.ask("behind", block=False), ref.stop(block=False)
    ref.tell("behind")
    hold.set()
    assert any_world.get(stopping) is True
    with pytest.raises(pykka.ActorDeadError):
        any_world.get(asked)
    assert any_world.get(stopping_again) is True
    assert "behind" not in actor.log


def test_a_dead_actor_refuses_tells_and_answers_asks(any_world):
    _, ref = any_world.spawn()
    any_world.stop(ref)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("late")
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("late")
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()
    assert not tell(ref, "late")


def test_an_actor_can_stop_itself(any_world):
    actor, ref = any_world.spawn()
    ref.tell(lambda self: self.stop())
    any_world.wait_gone(actor)
    assert actor.log[-1] == ("on_stop",)
    assert not ref.is_alive()


def test_an_exception_in_on_stop_changes_nothing_for_who_stops(any_world):
    actor, ref = any_world.spawn(on_stop=raising(ValueError("in on_stop")))
    assert any_world.stop(ref) is True
    assert not ref.is_alive()
    assert ("on_failure",) not in [entry[:1] for entry in actor.log]


def test_an_exception_in_on_failure_leaves_the_actor_dead(any_world):
    actor, ref = any_world.spawn(on_failure=raising(ValueError("in on_failure")))
    ref.tell(raising(KeyError("first")))
    any_world.wait_gone(actor)
    with pytest.raises(pykka.ActorDeadError):
        any_world.ask(ref, "late")


def test_an_exception_in_on_start_ends_the_actor_before_its_first_message(any_world):
    actor, ref = any_world.spawn(on_start=raising(ValueError("in on_start")))
    with pytest.raises(pykka.ActorDeadError):
        any_world.ask(ref, "first")
    assert not ref.is_alive()
    assert "first" not in actor.log


def test_pykkas_proxies_call_and_read(any_world):
    actor, ref = any_world.spawn()
    proxy = ref.proxy()
    assert any_world.get(proxy.double(21)) == 42
    assert any_world.get(proxy.log) == [("on_start",)]
    with pytest.raises(TypeError):
        any_world.get(proxy.double())
    proxy.receive.defer("deferred")
    assert any_world.ask(ref, "last") == "last"
    assert actor.log == [("on_start",), "deferred", "last"]
    assert proxy == ref.proxy()
    assert len({proxy, ref.proxy()}) == 1
    assert {"actor_ref", "double", "log"} <= set(dir(proxy))


def test_a_deferred_proxy_call_that_raises_kills(any_world):
    actor, ref = any_world.spawn()
    ref.proxy().double.defer()
    any_world.wait_gone(actor)
    assert not ref.is_alive()


def test_an_unknown_message_is_logged_and_answered_with_none(any_world, caplog):
    caplog.set_level(logging.WARNING, "pykka")
    _, ref = any_world.spawn()
    assert any_world.ask(ref, "unknown") is None
    assert "Unexpected message" in caplog.text


def test_asking_without_an_answer_in_time_is_pykkas_timeout(any_world):
    actor, ref = any_world.spawn()
    hold = threading.Event()
    ref.tell(lambda _: hold.wait(0 if any_world.step else HANG))
    with pytest.raises(pykka.Timeout):
        ref.ask("waits", timeout=0)
    hold.set()
    any_world.ask(ref, "after")
    assert actor.log == [("on_start",), "waits", "after"]


# ---------------------------------------------------------------- what pykka lacks


def test_a_proxy_offers_what_the_class_says_and_nothing_can_be_set(world):
    actor, ref = world.spawn()
    proxy = ref.proxy()
    assert dir(proxy) == ["actor_ref", "double", "log", "receive", "stop"]
    for name in ("plans", "on_receive", "executor", "_actor_ref", "duoble"):
        with pytest.raises(
            AttributeError, match=rf"(?i)has no '{name}'; .*it offers actor_ref, double, log, receive, stop\."
        ):
            getattr(proxy, name)
    with pytest.raises(AttributeError, match="'log' can't be set"):
        proxy.log = []
    with pytest.raises(AttributeError, match="'log' can't be deleted"):
        del proxy.log
    assert repr(proxy) == f"<proxy of {ref}>"
    assert world.ask(ref, lambda actor: list(actor.log)) == [("on_start",)]
    assert actor.log == [("on_start",)]


@pytest.mark.parametrize(
    "message",
    [
        ProxyCall(("hook",), ("on_stop",), {}),
        ProxyCall(("plans", "clear"), (), {}),
        ProxyGetAttr(("executor",)),
        ProxySetAttr(("log",), ["written"]),
    ],
)
def test_what_is_not_offered_is_refused_to_pykkas_own_proxies_too(world, message):
    actor, ref = world.spawn()
    with pytest.raises(AttributeError, match=r"none of what Ours .* offers to proxies: stop, double, receive, log"):
        world.ask(ref, message)
    assert actor.log == [("on_start",)]
    assert world.get(pykka.ActorProxy(actor_ref=ref).double(4)) == 8


def test_the_proxy_of_what_represents_an_actor_is_that_of_its_reference(world):
    class Client:
        def proxy(self):
            return "the client's"

    _, ref = world.spawn()
    client = Client()
    ref.represent(client)
    assert ref.proxy() == "the client's"
    del client
    assert ref.proxy().actor_ref is ref


def test_everybody_answers_ping_and_describe(world):
    _, ref = world.spawn()
    assert world.ask(ref, Ping()) is True
    assert world.ask(ref, Describe()) == "running"


def test_monitors_hear_that_an_actor_stopped(world):
    actor = world.make()
    first, second = world.watch(actor), world.watch(actor)
    ref = world.start(actor)
    world.stop(ref)
    assert first() is None
    assert second() is None
    assert actor.ended


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
def test_monitors_hear_what_killed_an_actor(world, kind):
    error = kind("wrong")
    actor = world.make()
    ended = world.watch(actor)
    ref = world.start(actor)
    message = raising(error)
    ref.tell(message)
    assert ended() is error
    assert not ref.is_alive()
    # What the message promised is settled like what comes after the end.
    world.until(lambda: len(actor.log) == 3)
    assert actor.log == [("on_start",), ("on_failure", error), ("on_dead_letter", message)]


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
def test_a_failed_start_is_a_failure_like_any_other(world, kind):
    error = kind("wrong")
    actor = world.make(on_start=raising(error))
    ended = world.watch(actor)
    ref = world.start(actor)
    assert ended() is error
    assert actor.log == [("on_start",), ("on_failure", error)]
    assert not ref.is_alive()


@pytest.mark.parametrize("kind", FATAL)
def test_an_asker_hears_of_a_fatal_error_as_actor_dead_and_not_as_the_error(world, kind):
    error = kind("wrong")
    actor = world.make()
    ended = world.watch(actor)
    ref = world.start(actor)
    with pytest.raises(pykka.ActorDeadError) as caught:
        world.ask(ref, raising(error))
    assert caught.value.__cause__ is error
    assert ended() is error
    assert not ref.is_alive()


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
@pytest.mark.parametrize("hook", ["on_stop", "on_dead_letter"])
def test_an_actor_whose_last_hooks_raise_has_ended_all_the_same(world, hook, kind, caplog):
    error = kind("wrong")
    actor = world.make(**{hook: raising(error)})
    ended = world.watch(actor)
    ref = world.start(actor)
    hold = threading.Event()
    ref.tell(lambda _: hold.wait(0 if world.step else HANG))
    stopping = ref.stop(block=False)
    ref.tell("late")
    asked = ref.ask("late too", block=False)
    hold.set()
    assert world.get(stopping) is True
    assert ended() is None
    with pytest.raises(pykka.ActorDeadError):
        world.get(asked)
    assert logged(caplog, error)


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
def test_a_failure_in_on_failure_is_logged_and_the_first_error_announced(world, kind, caplog):
    error = kind("wrong")
    actor = world.make(on_failure=raising(error))
    ended = world.watch(actor)
    death = KeyError("death")
    world.start(actor).tell(raising(death))
    assert ended() is death
    assert logged(caplog, error)
    assert logged(caplog, death)


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
def test_a_timer_that_raises_is_logged(world, kind, caplog):
    error = kind("wrong")
    actor, ref = world.spawn()

    def arrange(self):
        self.executor.timers.call_at(self.now(), lambda: raising(error)(self))
        self.tell_later(0, lambda self: self.stop())

    ref.tell(arrange)
    world.wait_gone(actor)
    assert actor.log == [("on_start",), ("on_stop",)]
    assert logged(caplog, error)


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
@pytest.mark.parametrize("hook", ["on_start", "receive", "on_stop", "on_failure", "on_dead_letter", "timer"])
def test_nothing_that_raises_takes_the_thread_from_the_siblings(shared_world, hook, kind):
    error = kind("wrong")
    _, sibling = shared_world.spawn()
    thread = shared_world.ask(sibling, lambda _: threading.get_ident())
    _, ref = shared_world.spawn(**{hook: raising(error)})
    if hook in ("receive", "on_failure"):
        tell(ref, raising(error))
    elif hook == "timer":
        tell(ref, lambda self: self.executor.timers.call_at(self.now(), lambda: raising(error)(self)))
    else:
        ref.stop(block=False)
        tell(ref, "late")
    shared_world.pump()
    assert shared_world.ask(sibling, lambda _: threading.get_ident()) == thread
    assert ref.is_alive() == (hook == "timer")


def test_the_siblings_of_a_dying_actor_live_on(world):
    others = [world.spawn() for _ in range(3)]
    for kind in FATAL:
        actor, ref = world.spawn()
        ref.tell(raising(kind()))
        world.wait_gone(actor)
    assert [world.ask(ref, "alive") for _, ref in others] == ["alive"] * 3


def test_a_dead_monitor_disturbs_nobody(world):
    actor = world.make()
    ended = world.watch(actor)
    _, dead = world.spawn()
    world.stop(dead)
    actor._monitors.insert(0, dead)
    world.stop(world.start(actor))
    assert ended() is None


def test_letters_behind_a_stop_are_given_to_on_dead_letter(world):
    actor, ref = world.spawn()
    hold = threading.Event()
    ref.tell(lambda _: hold.wait(0 if world.step else HANG))
    stopping = ref.stop(block=False)
    ref.tell("told")
    asked = ref.ask("asked", block=False)
    hold.set()
    world.get(stopping)
    with pytest.raises(pykka.ActorDeadError):
        world.get(asked)
    assert actor.log == [("on_start",), ("on_stop",), ("on_dead_letter", "told"), ("on_dead_letter", "asked")]


def test_letters_to_an_actor_whose_start_failed_are_given_to_on_dead_letter(world):
    hold = threading.Event()

    def fail_late(_actor):
        assert hold.wait(0 if world.step else HANG)
        raise ValueError("in on_start")

    actor = world.make(on_start=fail_late)
    if world.step:
        hold.set()
        actor.actor_ref.tell("early")
    ref = world.start(actor)
    if not world.step:
        ref.tell("early")
        hold.set()
    world.wait_gone(actor)
    world.until(lambda: len(actor.log) == 3)
    assert actor.log[-1] == ("on_dead_letter", "early")


def test_an_envelope_that_slips_in_after_the_end_is_not_lost(shared_world):
    """An asker that saw the actor alive may put its message after the actor's last look into the inbox."""
    actor, ref = shared_world.spawn()
    shared_world.stop(ref)
    answers = [pykka.ThreadingFuture() for _ in range(2)]
    ref.actor_inbox.put(Envelope("told"))
    ref.actor_inbox.put(Envelope("asked", reply_to=answers[0]))
    ref.actor_inbox.put(Envelope(ActorStop(), reply_to=answers[1]))
    with pytest.raises(pykka.ActorDeadError):
        shared_world.get(answers[0])
    assert shared_world.get(answers[1]) is None
    assert actor.log[-2:] == [("on_dead_letter", "told"), ("on_dead_letter", "asked")]


def test_a_message_to_oneself_comes_after_its_delay_in_order_of_time(world):
    actor, ref = world.spawn()

    def arrange(self):
        self.tell_later(0.003, "third")
        self.tell_later(0.001, "first")
        self.tell_later(0.002, "second")
        self.tell_later(0.0015, "cancelled").cancel()
        self.tell_later(0.004, lambda actor: actor.stop())

    ref.tell(arrange)
    world.wait_gone(actor)
    assert [entry for entry in actor.log if isinstance(entry, str)] == ["first", "second", "third"]


def test_a_timer_of_an_actor_that_ended_is_harmless(world):
    actor, ref = world.spawn()

    def arrange(self):
        self.tell_later(0.001, "too late")
        self.stop()

    ref.tell(arrange)
    world.wait_gone(actor)
    _, other = world.spawn()
    done = threading.Event()
    other.tell(lambda self: self.tell_later(0.002, lambda _: done.set()))
    world.wait(done)
    assert "too late" not in actor.log


@pytest.mark.parametrize("kind", [ValueError, *FATAL])
def test_guarded_logs_and_goes_on(kind, caplog):
    error = kind("wrong")
    guarded(lambda: raising(error)(None), "the action")
    (record,) = caplog.records
    assert record.getMessage() == "the action failed"
    assert record.exc_info[1] is error
