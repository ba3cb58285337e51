"""Whose a request id is."""

from __future__ import annotations

from tinker_actors.protocol.replies import request_ids
from tinker_actors.protocol.replies.request_ids import RequestIds


def test_an_id_is_one_operations_until_it_ends_and_nobodys_who_asked_before_that():
    ids = RequestIds()
    assert ids.take("r", asked=1.0)
    assert not ids.take("r", asked=1.0)
    ids.end("r", now=5.0)
    assert not ids.take("r", asked=4.0)
    assert ids.take("r", asked=5.0)


def test_an_id_that_the_server_forgot_is_free():
    ids = RequestIds()
    assert ids.take("r", asked=1.0)
    ids.free("r")
    assert ids.take("r", asked=0.0)


def test_ended_ids_are_remembered_for_long_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(request_ids, "_REMEMBERED", 10)
    ids = RequestIds()
    for number in range(100):
        assert ids.take(f"r{number}", asked=0.0)
        ids.end(f"r{number}", now=1.0)
    assert not any(ids.take(f"r{number}", asked=0.0) for number in range(90, 100))
    assert all(ids.take(f"r{number}", asked=0.0) for number in range(70))
