"""Completions: cursors, acknowledgements and what answers mean. The lane's side is in tests/actors/lane."""

from __future__ import annotations

import json

import msgspec
import pytest

from tinker_actors.protocol.replies.completions import (
    BAD_REQUESTS,
    Channel,
    Completion,
    Told,
    Unavailable,
    completions_outcome,
)
from tinker_actors.protocol.replies.outcomes import Retry


def outcome(status, body=b"{}", headers=None, bad_requests=0):
    return completions_outcome(status, headers or {}, body, 0.0, bad_requests)


def test_an_answer_tells_who_is_finished_and_how_large():
    body = (
        b'{"type":"x","completions":[{"state":"finished","request_id":"a","response_payload_uncompressed_size":12},'
        b'{"state":"failed","request_id":"b"},{"state":"finished","request_id":"c",'
        b'"response_payload_uncompressed_size":null}],"cursor":9}'
    )
    told = outcome(200, body)
    assert isinstance(told, Told)
    assert told.cursor == 9
    assert [(each.request_id, each.state, each.size) for each in told.completions] == [
        ("a", "finished", 12),
        ("b", "failed", 0),
        ("c", "finished", 0),
    ]


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503])
def test_what_passes_is_repeated(status):
    assert isinstance(outcome(status), Retry)
    assert outcome(status).kind == "transient"


def test_throttling_is_repeated_when_the_server_says():
    refused = outcome(429, headers={"retry-after": "7"})
    assert (refused.kind, refused.after) == ("throttle", 7.0)


def test_an_unpaid_bill_waits():
    assert outcome(402).after == 5.0


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410, 422, 501])
def test_what_does_not_pass_ends_the_telling(status):
    assert isinstance(outcome(status), Unavailable)


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b""), (200, b"<html>"), (200, b'{"completions":[{}],"cursor":1}'), (200, b'{"x":' + b"[" * 10_000)],
)
def test_what_a_proxy_may_have_spoilt_is_repeated_a_few_times(status, body):
    assert isinstance(outcome(status, body, bad_requests=BAD_REQUESTS - 1), Retry)
    assert isinstance(outcome(status, body, bad_requests=BAD_REQUESTS), Unavailable)


def test_a_server_that_says_do_not_repeat_is_believed():
    assert isinstance(outcome(503, headers={"x-should-retry": "false"}), Unavailable)


def request(channel):
    asked = channel.next_request()
    return None if asked is None else (json.loads(asked[0]), asked[1])


def told(channel, *names, cursor=None):
    return [who for who, _ in channel.told(Told([Completion(name) for name in names], cursor))]


def test_ids_are_sorted_escaped_and_acknowledged_until_heard():
    channel = Channel('s"1', 3)
    assert request(channel) is None
    for name in ("b", 'a"', "c"):
        channel.expect(name, name.upper(), 0.0)
    body, only_acknowledges = request(channel)
    assert body["target"] == {"type": "sampling_session", "sampling_session_id": 's"1', "cloned_sampler_id": 3}
    assert not only_acknowledges
    assert told(channel, "b", 'a"', cursor=5) == ["B", 'A"']
    channel.fetched("b")
    channel.fetched('a"')
    assert request(channel)[0]["retrieved_request_ids"] == ['a"', "b"]
    channel.drop("c")
    channel.fetched("c")  # while the request is out: not carried by it
    assert told(channel) == []
    assert request(channel) == (
        {"target": body["target"], "prev_cursor": 5, "retrieved_request_ids": ["c"], "timeout": 0},
        True,
    )
    told(channel)
    assert request(channel) is None


def test_the_cursor_never_goes_back():
    channel = Channel("s", 0)
    channel.expect("a", "A", 0.0)
    told(channel, cursor=5)
    told(channel, cursor=3)
    told(channel)
    assert request(channel)[0]["prev_cursor"] == 5


def test_what_is_told_early_is_kept_once():
    channel = Channel("s", 0)
    assert told(channel, "a", cursor=1) == []
    assert channel.expect("a", "A", 0.0) == Completion("a")
    assert channel.expect("a", "A", 0.0) is None


def test_early_completions_that_nobody_claims_do_not_pile_up():
    channel = Channel("s", 0)
    for first in range(0, 40_000, 1_000):
        told(channel, *(str(number) for number in range(first, first + 1_000)))
    assert channel.expect("0", "A", 0.0) is None
    assert channel.expect("39999", "B", 0.0) is not None
    assert len(channel._early) <= 20_000


def test_who_waits_longest_is_overdue_first():
    channel = Channel("s", 0)
    for number in range(3):
        channel.expect(str(number), number, float(number))
    assert channel.overdue(-1.0) is None
    assert [channel.overdue(1.0), channel.overdue(1.0), channel.overdue(1.0)] == [0, 1, None]
    assert list(channel.waiting) == ["2"]


def test_who_waits_is_given_back_when_the_telling_ends():
    channel = Channel("s", 0)
    channel.expect("a", "A", 0.0)
    channel.fetched("b")
    assert channel.abandon() == ["A"]
    assert not channel.available
    assert request(channel) is None


def test_an_answer_is_read_as_the_servers_send_it():
    # What the embedded server says, with fields of its own.
    body = msgspec.json.encode({"type": "retrieve_futures", "completions": [], "cursor": 0})
    assert outcome(200, body) == Told([], 0)
