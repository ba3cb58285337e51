"""What we rely on in pykka beyond its public interface is there, in whatever version is installed."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections import deque
from pathlib import Path

import pykka
import pytest
from pykka import messages

from tinker_actors.runtime.pykka_internals import ActorStop, ActorType, Envelope, PykkaMessage
from tinker_actors.runtime.reply import Reply

HANG = 30.0
PROJECT = Path(__file__).parents[2]


class Box:
    """An inbox that keeps what it is given."""

    def __init__(self):
        self.envelopes = deque()

    def put(self, envelope, /):
        self.envelopes.append(envelope)

    def get(self):
        return self.envelopes.popleft()

    def empty(self):
        return not self.envelopes


class Bare(ActorType):
    """As little as an actor type can be."""

    def __init__(self):
        super().__init__()
        self.log = []
        self.number = 1

    def make_inbox(self):
        return Box()

    def make_ref(self):
        return pykka.ActorRef(self)

    @staticmethod
    def make_reply():
        return Reply()

    def run(self):
        self.log.append("run")

    def halt(self):
        self.log.append("halt")

    def on_receive(self, message):
        self.log.append(message)

    def double(self, number):
        return number * 2


@pytest.fixture
def actor():
    return Bare()


def test_a_reference_puts_envelopes_into_the_inbox_that_the_actor_made(actor):
    reply = actor.actor_ref.ask("asked", block=False)
    actor.actor_ref.tell("told")
    asked, told = actor.actor_inbox.envelopes
    assert actor.actor_ref.actor_inbox is actor.actor_inbox
    assert type(asked) is type(told) is Envelope
    assert (asked.message, asked.reply_to) == ("asked", reply)
    assert (told.message, told.reply_to) == ("told", None)
    assert type(reply) is Reply


def test_a_stop_is_asked_by_its_message_and_answered_by_a_future_of_ours(actor):
    stopped = actor.actor_ref.stop(block=False)
    (envelope,) = actor.actor_inbox.envelopes
    assert isinstance(envelope.message, ActorStop)
    assert type(stopped) is Reply
    envelope.reply_to.set(None)
    assert stopped.get(timeout=HANG) is True


def test_a_stop_halts_the_actor_and_pykka_does_nothing_beside(actor):
    actor.obey(ActorStop())
    assert actor.log == ["halt"]
    assert actor.actor_ref.is_alive()  # the stopping is up to `halt`


def test_the_actors_own_stop_and_start_go_through_ours(actor):
    actor.stop()
    assert isinstance(actor.actor_inbox.get().message, ActorStop)
    started = Bare.start()
    try:
        assert started.ask("anything", block=False).__class__ is Reply
        assert pykka.ActorRegistry.get_by_urn(started.actor_urn) is started  # which RuntimeActor's own `start` avoids
    finally:
        pykka.ActorRegistry.unregister(started)


def test_pykkas_proxy_messages_are_obeyed(actor):
    assert actor.obey(messages.ProxyCall(attr_path=("double",), args=(4,), kwargs={})) == 8
    actor.obey(messages.ProxySetAttr(attr_path=("number",), value=5))
    assert actor.obey(messages.ProxyGetAttr(attr_path=("number",))) == 5
    assert actor.log == []


def test_all_messages_of_pykka_are_told_from_ours_by_their_class():
    classes = [each for _, each in inspect.getmembers(messages, inspect.isclass) if each.__module__ == "pykka.messages"]
    assert {ActorStop, messages.ProxyCall, messages.ProxyGetAttr, messages.ProxySetAttr} <= set(classes)
    assert all(issubclass(each, PykkaMessage) for each in classes)


def test_a_hook_is_called_until_it_has_returned_once():
    """Futures of `map` and of `stop` are hooks; one that was too late may be asked again."""
    calls = []

    def hook(timeout):
        calls.append(timeout)
        if len(calls) == 1:
            raise pykka.Timeout

    reply = Reply()
    reply.set_get_hook(hook)
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=1)
    assert [reply.get(timeout=2), reply.get()] == [None, None]
    assert calls == [1, 2]


def test_the_versions_that_are_tested_are_the_ends_of_what_is_allowed():
    dependencies = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    (allowed,) = [each for each in dependencies if each.startswith("pykka")]
    makefile = (PROJECT / "Makefile").read_text()
    oldest, newest = (re.search(rf"^PYKKA_{end} := (\S+)$", makefile, re.MULTILINE)[1] for end in ("OLDEST", "NEWEST"))
    lower, upper = re.fullmatch(r"pykka>=(\d+\.\d+),<(\d+)", allowed).groups()
    assert oldest == f"pykka=={lower}.0"
    assert newest == f"pykka>={lower},<{upper}" == allowed
