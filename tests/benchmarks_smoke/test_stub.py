"""The stub speaks the wire that it stands for, and notices what is not as it should be."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time

import numpy as np
import pytest

from benchmarks.cells import certificates
from benchmarks.measure import cores
from benchmarks.processes import stub, stub_stats
from benchmarks.stub.futures import Futures
from benchmarks.stub.results import sample_result
from benchmarks.workloads import WORKLOADS, answers, prompts
from tinker_actors.protocol.codec.protobuf.schema import messages

PROTOBUF = {"Accept": "application/x-protobuf"}


class Caller:
    """One connection to a stub."""

    def __init__(self, url):
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self._seq_id = 0

    def post(self, name, headers=None, **body):
        self._connection.request("POST", f"/api/v1/{name}", json.dumps(body), headers or {})
        answer = self._connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()

    def json(self, name, **body):
        status, _, content = self.post(name, **body)
        assert status == 200, content
        return json.loads(content)

    def sample(self, index=0, **changes):
        tokens = prompts(WORKLOADS["S"])[index]
        request = {
            "sampling_session_id": "stub:sample:1",
            "seq_id": self._seq_id,
            "num_samples": 1,
            "prompt": {"chunks": [{"type": "encoded_text", "tokens": tokens}]},
            "sampling_params": {"max_tokens": 512},
            **changes,
        }
        self._seq_id += 1
        return self.json("asample", **request)

    def close(self):
        self._connection.close()


@contextlib.contextmanager
def calling(*arguments):
    with stub(*arguments, where=cores()) as url, contextlib.closing(Caller(url)) as caller:
        yield caller, url


def test_a_result_comes_in_the_form_that_was_asked_for():
    expected = answers(WORKLOADS["S"])[3]
    with calling("--hold-ms", "1") as (caller, url):
        promise = caller.sample(3)
        assert promise["sample_sequence_ids"] == ["0-0"]
        spoken = caller.json("retrieve_future", request_id=promise["request_id"])
        status, kind, body = caller.post("retrieve_future", PROTOBUF, request_id=promise["request_id"])
        assert (status, kind) == (200, "application/x-protobuf")
        assert stub_stats(url)["results"] == {"protobuf": 1, "json": 1}
    assert spoken["sequences"][0]["tokens"] == expected.tokens[0]
    (sequence,) = messages().SampleResponse.FromString(body).sequences
    assert np.frombuffer(sequence.tokens, "<i4").tolist() == expected.tokens[0]
    assert np.frombuffer(sequence.logprobs, "<f4").tolist() == pytest.approx(expected.logprobs[0])
    assert sequence.stop_reason == 1


def test_a_result_with_several_sequences_has_them_all():
    large = answers(WORKLOADS["L"])[0]
    message = sample_result(large).protobuf.split(b"\r\n\r\n", 1)[1]
    found = messages().SampleResponse.FromString(message).sequences
    assert [np.frombuffer(one.tokens, "<i4").tolist() for one in found] == large.tokens
    assert sample_result(large).size == len(message)


def test_a_poll_is_held_until_the_result_is_due():
    with calling("--hold-ms", "80") as (caller, url):
        promise = caller.sample()
        started = time.monotonic()
        caller.json("retrieve_future", request_id=promise["request_id"])
        assert time.monotonic() - started >= 0.05
        assert stub_stats(url)["most_held"] == 1


def test_a_poll_that_was_hung_up_is_not_held():
    with calling("--hold-ms", "60000") as (caller, url):
        body = json.dumps({"request_id": caller.sample()["request_id"]})
        for _ in range(2):  # one after the other: two at a time would be two held
            other = socket.create_connection(tuple(url.removeprefix("http://").rsplit(":", 1)), 30)
            with other:
                seen = stub_stats(url)["requests"].get("retrieve_future", 0)
                other.sendall(
                    f"POST /api/v1/retrieve_future HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                while stub_stats(url)["requests"].get("retrieve_future", 0) == seen:
                    threading.Event().wait(0.01)
            stub_stats(url)
        assert stub_stats(url)["most_held"] == 1


def test_completions_are_told_until_the_cursor_says_that_they_were_seen():
    target = {"type": "sampling_session", "sampling_session_id": "stub:sample:1", "cloned_sampler_id": 0}
    with calling("--hold-ms", "40", "--retrieve-futures") as (caller, _):
        assert caller.json("client/config")["sample_use_retrieve_futures"] is True
        promised = [caller.sample(index)["request_id"] for index in range(3)]
        nothing = caller.json("retrieve_futures", target={**target, "cloned_sampler_id": 7}, timeout=0)
        assert nothing == {"completions": [], "cursor": 0}
        seen: dict[str, int] = {}
        while len(seen) < 3:  # the cursor stays, so that each answer repeats what was told before
            answer = caller.json("retrieve_futures", target=target)
            assert answer["completions"], "a held poll is answered when there is something to tell"
            seen = {one["request_id"]: one["response_payload_uncompressed_size"] for one in answer["completions"]}
        assert answer["cursor"] == 3
        assert sorted(seen) == sorted(promised)
        assert seen[promised[0]] == sample_result(answers(WORKLOADS["S"])[0]).size
        again = caller.json("retrieve_futures", target=target, prev_cursor=1, timeout=0)
        assert [one["request_id"] for one in again["completions"]] == promised[1:]
        assert caller.json("retrieve_futures", target=target, prev_cursor=3, timeout=0)["completions"] == []


def test_a_held_poll_hears_of_a_sample_that_comes_later():
    target = {"type": "sampling_session", "sampling_session_id": "stub:sample:1"}
    with calling("--hold-ms", "20", "--retrieve-futures") as (caller, url):
        heard: list[dict] = []

        def listen():
            with contextlib.closing(Caller(url)) as other:
                heard.append(other.json("retrieve_futures", target=target))

        listener = threading.Thread(target=listen)
        listener.start()
        while not stub_stats(url)["requests"].get("retrieve_futures"):
            threading.Event().wait(0.01)
        promise = caller.sample()
        listener.join(30)
        assert [one["request_id"] for one in heard[0]["completions"]] == [promise["request_id"]]


def test_without_the_flag_completions_are_refused():
    with calling() as (caller, url):
        assert caller.json("client/config")["sample_use_retrieve_futures"] is False
        status, _, _ = caller.post("retrieve_futures", target={"sampling_session_id": "x"})
        assert status == 404
        assert stub_stats(url)["faults"] == {"retrieve_futures refused": 1}


def test_what_is_not_as_it_should_be_is_counted():
    with calling("--hold-ms", "1") as (caller, url):
        caller.sample(sampling_params={"max_tokens": 5})
        caller.sample(seq_id=0)
        assert caller.post("asample", prompt={})[0] == 422
        assert caller.post("retrieve_future", request_id="99")[0] == 410
        assert caller.post("no_such_thing")[0] == 404
        assert stub_stats(url)["faults"] == {
            "sample of another size": 1,
            "asample resent": 1,
            "malformed asample": 1,
            "unknown future": 1,
            "unknown path no_such_thing": 1,
        }


def test_it_speaks_tls_to_those_who_trust_it():
    with certificates() as (cafile, certificate, key), stub("--tls", certificate, key, where=cores()) as url:
        assert url.startswith("https://")
        assert stub_stats(url, cafile)["connections"] == 1
        with certificates() as (stranger, _, _), pytest.raises(ssl.SSLCertVerificationError):
            stub_stats(url, stranger)


def test_a_future_that_is_due_is_given_at_once():
    futures = Futures(0.0, channels=False)
    result = sample_result(answers(WORKLOADS["S"])[0])
    number = futures.promise(result)
    body = json.dumps({"request_id": str(number)}).encode()
    assert futures.retrieve(None, b"Accept: application/json", body) == result.json
    assert futures.retrieve(None, b"Accept: application/x-protobuf", body) == result.protobuf
    with pytest.raises(LookupError):
        futures.retrieve(None, b"", b'{"request_id":"x"}')
