"""Streams: each token as it is drawn, whole characters, an end, and nothing drawn for a reader who is gone."""

from __future__ import annotations

import json
import random

import pytest
from tokenizers.decoders import ByteFallback

from tinker_actors.local.core import Limits
from tinker_actors.local.core.samples.streams import Stream, TextPieces


def utf8(tokens):
    return bytes(tokens).decode("utf-8", "replace")


def pieces(data):
    grown = TextPieces(utf8)
    return [grown.add(byte) for byte in data] + [grown.rest()]


def test_characters_come_whole_and_as_soon_as_they_are():
    assert pieces("aü€😀b".encode()) == ["a", "", "ü", "", "", "€", "", "", "", "😀", "b", ""]


def test_a_character_that_never_becomes_whole_is_shown_at_the_end():
    assert pieces("a€".encode()[:-1]) == ["a", "", "", "\ufffd"]


@pytest.mark.parametrize("seed", range(20))
def test_the_pieces_of_any_bytes_are_their_text(seed):
    rng = random.Random(seed)
    parts = ["ü€😀\ufffdz".encode(), b"\xff", b"\xe2\x82", b"plain text "]
    data = b"".join(rng.choice(parts) for _ in range(100))
    assert "".join(pieces(data)) == utf8(data)


@pytest.mark.parametrize("text", ["世界", "ü" * 50, "世界" * 50, "😀" * 50, "a世 😀ü" * 20, "a" * 70 + "世" * 40])
def test_characters_come_whole_from_a_tokenizer_that_falls_back_on_bytes(text):
    """Such a one makes U+FFFD of every byte in a run of bytes, whole characters too, as long as the run ends in one."""
    decoder = ByteFallback()
    grown = TextPieces(lambda tokens: "".join(decoder.decode([f"<0x{byte:02X}>" for byte in tokens])))
    data = text.encode()
    given = [grown.add(byte) for byte in data]
    assert [piece for piece in given if piece] == list(text)
    assert grown.rest() == ""


def test_without_a_tokenizer_there_is_no_text():
    assert TextPieces(lambda _: None).add(1) == ""


@pytest.fixture
def sampler(driver):
    return driver.sampler()


def begin(driver, body):
    stream = driver.raw("stream_sample", json.dumps(body).encode())
    assert isinstance(stream, Stream), stream
    return stream


def events(driver, stream):
    data, over = driver.core.take_events(stream)
    found = data.split(b"\n\n")
    assert found.pop() == b""
    return [json.loads(one.removeprefix(b"data: ")) for one in found], over


def turn(driver):
    job = driver.core.next_job("sample")
    return driver.core.finish(job, job.run(), driver.now)


def test_each_token_comes_when_it_is_drawn_and_the_end_says_why(driver, bodies, sampler):
    params = {"max_tokens": 3, "seed": 1, "stop": []}
    stream = begin(driver, bodies.sample(sampler, 0, sampling_params=params))
    assert events(driver, stream) == ([], False)
    seen = []
    for index in range(2):
        assert turn(driver) == {stream.request_id}
        ((one,), over) = events(driver, stream)
        assert one["index"] == index
        assert one["token"] == f"{one['token_id']} "
        assert not over
        seen.append(one)
    turn(driver)
    ((last, end), over) = events(driver, stream)
    assert over
    assert end == {"token": "", "finish_reason": "length", "total_tokens": 3}
    driver.submit("asample", bodies.sample(sampler, 1, sampling_params=params))
    whole = driver.submit("asample", bodies.sample(sampler, 2, sampling_params=params))
    driver.work()
    (sequence,) = driver.result(whole)["sequences"]
    assert [one["token_id"] for one in (*seen, last)] == sequence["tokens"]
    assert [one["logprob"] for one in (*seen, last)] == sequence["logprobs"]


def test_nothing_is_kept_of_a_stream_that_is_over(driver, bodies, sampler):
    before = len(driver.core.state.futures)
    stream = begin(driver, bodies.sample(sampler))
    driver.work()
    assert events(driver, stream)[1]
    driver.core.abandon(stream)
    assert len(driver.core.state.futures) == before


def test_a_stream_slows_nobody_elses_answer_and_others_do_not_hold_it_up(driver, bodies, sampler):
    stream = begin(driver, bodies.sample(sampler, 0, sampling_params={"max_tokens": 50, "stop": []}))
    other = driver.submit("asample", bodies.sample(sampler, 1, sampling_params={"max_tokens": 2, "stop": []}))
    assert [turn(driver) for _ in range(2)] == [{stream.request_id}, {stream.request_id, other}]


def test_nothing_more_is_drawn_for_a_reader_who_is_gone(driver, bodies, sampler):
    stream = begin(driver, bodies.sample(sampler, 0, sampling_params={"max_tokens": 1000, "stop": []}))
    turn(driver)
    driver.core.abandon(stream)
    assert driver.core.next_job("sample") is None
    assert driver.core.state.sample_queue.drawing == 0


def test_a_lost_session_ends_the_stream_with_an_error(driver, bodies):
    session = driver.session()
    stream = begin(driver, bodies.sample(driver.sampler(session)))
    driver.good(f"sessions/{session}/finish", {"reason": {"type": "success"}})
    ((error,), over) = events(driver, stream)
    assert over
    assert session in error["error"]


def test_a_failure_ends_the_stream_with_an_error(driver, bodies, sampler, monkeypatch):
    stream = begin(driver, bodies.sample(sampler))
    monkeypatch.setattr(driver.core.state.engine, "decoding", lambda _: (_ for _ in ()).throw(ValueError("broken")))
    driver.work()
    assert events(driver, stream) == ([{"error": "broken."}], True)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"num_samples": 2}, "num_samples must be 1, got 2"), ({"sampling_params": {"top_p": 0}}, "top_p")],
)
def test_what_can_not_be_streamed_is_refused(driver, bodies, sampler, change, words):
    status, said = driver.call("stream_sample", {**bodies.sample(sampler), **change})
    assert status == 400
    assert words in said["detail"]


def test_a_full_queue_takes_no_streams(make_driver, bodies):
    driver = make_driver(Limits(queued_samples=1))
    sampler = driver.sampler()
    driver.submit("asample", bodies.sample(sampler))
    assert driver.call("stream_sample", bodies.sample(sampler, 1))[0] == 429
