"""A stream over HTTP: tokens come one by one, and a reader who goes stops the work."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.process import LocalServer

SMALL = "own/small"
HANG = 60


@pytest.fixture(scope="module")
def narrow_server():
    """A server that draws one sequence at a time, from a model whose context takes it minutes to fill."""
    with LocalServer(stand_ins={SMALL: 64}, limits={"batched_sequences": 1}) as running:
        yield running


def stream(wire, body):
    return wire.http.post(f"{wire.url}/api/v1/stream_sample", json=body, stream=True, timeout=HANG)


def events(answer):
    for line in answer.iter_lines(chunk_size=1):
        if line:
            yield json.loads(line.removeprefix(b"data: "))


def asked(model, max_tokens, **fields):
    params = {"max_tokens": max_tokens, "stop": [], "seed": 3}
    return {"base_model": model, "prompt": {"chunks": [{"tokens": [1, 2]}]}, "sampling_params": params, **fields}


def test_a_stream_has_the_tokens_of_the_same_sample_and_its_text(wire):
    answer = stream(wire, asked("local/tiny", 40))
    assert answer.headers["content-type"].startswith("text/event-stream")
    *tokens, end = events(answer)
    (sequence,) = wire.do("asample", asked("local/tiny", 40))["sequences"]
    assert [one["token_id"] for one in tokens] == sequence["tokens"]
    assert [one["logprob"] for one in tokens] == pytest.approx(sequence["logprobs"], abs=1e-6)
    assert [one["index"] for one in tokens] == list(range(40))
    assert (end["finish_reason"], end["total_tokens"]) == ("length", 40)
    special = {256: b"<|bos|>", 257: b"<|eos|>", 258: b"<|pad|>", 259: b"<|unknown|>"}
    text = b"".join(special.get(token) or bytes([token]) for token in sequence["tokens"]).decode("utf-8", "replace")
    assert "".join(one["token"] for one in (*tokens, end)) == text


def test_tokens_come_while_others_are_still_to_be_drawn_and_a_reader_who_goes_stops_the_work(connect, narrow_server):
    wire = connect(narrow_server)
    with stream(wire, asked(SMALL, None)) as answer:
        reading = events(answer)
        assert [next(reading)["index"] for _ in range(3)] == [0, 1, 2]
        waiting = wire.submit("asample", asked(SMALL, 2))
    assert len(wire.result(waiting)["sequences"][0]["tokens"]) == 2


def test_what_is_refused_is_an_ordinary_answer(wire):
    answer = stream(wire, asked("local/tiny", 0))
    assert answer.status_code == 400
    assert "max_tokens" in answer.json()["detail"]


def test_a_server_that_stops_ends_its_streams_with_an_error(connect):
    with LocalServer(stand_ins={SMALL: 64}) as server:
        wire = connect(server)
        with stream(wire, asked(SMALL, None)) as answer:
            reading = events(answer)
            next(reading)
            server.stop()
            assert "error" in list(reading)[-1]
