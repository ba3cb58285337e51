"""Whose a request id is."""

from __future__ import annotations

from tinker_actors.protocol.replies import request_ids
from tinker_actors.protocol.replies.request_ids import RequestIds


def test_an_id_is_one_operations_until_it_ends_and_nobodys_who_asked_before_that():
    ids = RequestIds()
    assert ids.take("r", 1.0, "first")
    assert ids.whose("r") == "first"
    assert not ids.take("r", 1.0, "second")
    assert ids.whose("r") == "first"
    ids.end("r", now=5.0)
    assert ids.whose("r") is None
    assert not ids.take("r", 4.0, "third")
    assert ids.take("r", 5.0, "fourth")


def test_an_id_that_the_server_forgot_is_free():
    ids = RequestIds()
    assert ids.take("r", 1.0, "first")
    ids.free("r")
    assert ids.take("r", 0.0, "second")


def test_ended_ids_are_remembered_for_long_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(request_ids, "_REMEMBERED", 10)
    ids = RequestIds()
    for number in range(100):
        assert ids.take(f"r{number}", 0.0, number)
        ids.end(f"r{number}", now=1.0)
    assert not any(ids.take(f"r{number}", 0.0, number) for number in range(90, 100))
    assert all(ids.take(f"r{number}", 0.0, number) for number in range(70))


def test_trust_is_due_when_a_server_has_given_many_different_ids_at_first_and_after_it_gave_one_twice():
    ids = RequestIds()
    for number in range(64):
        assert ids.doubted
        assert not ids.due
        assert not ids.mixed
        ids.take(f"r{number}", 1.0, number)
    assert ids.due
    assert ids.doubted
    ids.trust()
    assert not ids.doubted
    ids.take("r1", 1.0, "second")
    for number in range(64):
        assert not ids.due
        assert ids.mixed
        ids.take(f"s{number}", 1.0, number)
    assert ids.due
    assert ids.mixed
    ids.trust()
    assert not ids.doubted
    assert not ids.mixed
