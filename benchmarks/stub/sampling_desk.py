"""The stub's samples: taken or refused, worked on for a time that their length says, waited for, forgotten."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from benchmarks.stub.capacity_queue import CapacityQueue
from benchmarks.stub.exchanges import JSON, PROTOBUF, Exchange
from benchmarks.stub.timers import Timers

VOCABULARY = 50_000
_CLONE = 1_000_000_000  # wire protocol 5.5
# A result is kept this long after it was there, so that it can be fetched again when an answer was lost.
_KEPT = 60.0


class _Chunk(msgspec.Struct):
    tokens: list[int]


class _Prompt(msgspec.Struct):
    chunks: list[_Chunk]


class _Params(msgspec.Struct):
    max_tokens: int | None = None


class _Ask(msgspec.Struct):
    prompt: _Prompt
    sampling_params: _Params
    sampling_session_id: str
    seq_id: int
    num_samples: int = 1


class _Retrieve(msgspec.Struct):
    request_id: str


class _Target(msgspec.Struct):
    sampling_session_id: str
    cloned_sampler_id: int = 0


class _RetrieveMany(msgspec.Struct):
    target: _Target
    prev_cursor: int = 0
    timeout: float | None = None


_decode_ask = msgspec.json.Decoder(_Ask).decode
_decode_retrieve = msgspec.json.Decoder(_Retrieve).decode
_decode_many = msgspec.json.Decoder(_RetrieveMany).decode


class _Sequence(NamedTuple):
    tokens: list[int]
    logprobs: list[float]
    stop_reason: str = "length"


def tokens_for(first: int, count: int) -> list[int]:
    """Return the tokens that answer a prompt that begins with `first`: every caller can tell its own."""
    return [(first * 31 + index) % VOCABULARY for index in range(count)]


@cache
def _result(first: int, count: int, sequences: int, content_type: str) -> bytes:
    drawn = [_Sequence(tokens_for(first, count), [-0.5] * count) for _ in range(sequences)]
    if content_type == PROTOBUF:
        from tinker_actors.protocol.codec.protobuf.serving import encode_sample_response

        return encode_sample_response(drawn)
    return msgspec.json.encode({"type": "sample", "sequences": [each._asdict() for each in drawn]})


class Sample:
    """A sample that was taken."""

    __slots__ = ("channel", "finished", "first", "id", "key", "seconds", "sequences", "watcher")

    def __init__(self, request_id: str, key: tuple[str, int], ask: _Ask, seconds: float) -> None:
        self.id = request_id
        self.key = key
        self.channel = (key[0], key[1] // _CLONE)
        self.first = ask.prompt.chunks[0].tokens[0]
        self.sequences = ask.num_samples
        self.seconds = seconds
        self.finished = False
        self.watcher: tuple[Exchange, str] | None = None


class _Channel:
    """The finished samples of a sampler that `retrieve_futures` has not told yet."""

    def __init__(self) -> None:
        self.cursor = 0
        self.events: list[tuple[int, str]] = []
        self.watcher: Exchange | None = None

    def answer(self, exchange: Exchange) -> None:
        """Tell them all."""
        told = [{"state": "finished", "request_id": name} for _, name in self.events]
        exchange.reply(msgspec.json.encode({"completions": told, "cursor": self.cursor}))

    def finished(self, name: str) -> None:
        """Note one more, and tell whoever waits."""
        self.cursor += 1
        self.events.append((self.cursor, name))
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            self.answer(watcher)


class SamplingDesk:
    """Takes samples and gives results.

    Args:
        queue: makes the queue, given what begins a sample.
        ms_per_token: how long a sample takes, per token that it may have.
        jitter: the share by which that varies to both sides.
        result_tokens: tokens in each result.
        hold: seconds that a request for a result is held at most.
        seed: of the jitter.
        timers: for what comes later.
    """

    def __init__(
        self,
        queue: Callable[[Callable[[Any], None]], CapacityQueue],
        *,
        ms_per_token: float,
        jitter: float,
        result_tokens: int,
        hold: float,
        seed: int,
        timers: Timers,
    ) -> None:
        self._timers = timers
        self.queue = queue(self._begin)
        self._ms_per_token, self._jitter, self._result_tokens, self._hold = ms_per_token, jitter, result_tokens, hold
        self._random = random.Random(seed)
        self._samples: dict[str, Sample] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._channels: dict[tuple[str, int], _Channel] = {}
        self._finished = 0
        self.counts: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def take(self, exchange: Exchange) -> None:
        """Take a sample, or refuse it when the server is full. A resend gets the name that it got before."""
        ask = _decode_ask(exchange.body)
        key = (ask.sampling_session_id, ask.seq_id)
        name = self._names.get(key)
        if name is not None:
            self.counts["resent"] += 1
        else:
            name = f"f{self.counts['accepted']}"
            seconds = (ask.sampling_params.max_tokens or 1) * self._ms_per_token / 1000
            seconds *= self._random.uniform(1 - self._jitter, 1 + self._jitter)
            sample = Sample(name, key, ask, seconds)
            self._samples[name] = sample
            if not self.queue.offer(sample):
                del self._samples[name]
                self.counts["rejected"] += 1
                exchange.reply(b'{"detail":"too many samples"}', 429)
                return
            self._names[key] = name
            self.counts["accepted"] += 1
            self.most["running"] = max(self.most["running"], self.queue.running)
            self.most["waiting"] = max(self.most["waiting"], self.queue.waiting)
            self.most["unfinished"] = max(self.most["unfinished"], self.counts["accepted"] - self.counts["finished"])
        names = [f"{name}-{index}" for index in range(ask.num_samples)]
        exchange.reply(msgspec.json.encode({"request_id": name, "sample_sequence_ids": names}))

    def _begin(self, sample: Sample) -> None:
        self._timers.call_later(sample.seconds, self._finish, sample)

    def _finish(self, sample: Sample) -> None:
        sample.finished = True
        self.counts["finished"] += 1
        self.queue.finished()
        if sample.id not in self._samples:
            return  # forgotten
        self._timers.call_later(_KEPT, self.forget, sample.id)
        channel = self._channels.get(sample.channel)
        if channel is not None:
            channel.finished(sample.id)
        watcher, sample.watcher = sample.watcher, None
        if watcher is not None:
            self._give(sample, *watcher)

    def forget(self, name: str) -> None:
        """Forget a sample, as a server does that was restarted."""
        sample = self._samples.pop(name, None)
        if sample is not None:
            self._names.pop(sample.key, None)

    def retrieve(self, exchange: Exchange, *, gone: bool) -> None:
        """Give a result, or hold the request until it is there.

        Args:
            exchange: the request.
            gone: forget the sample first.
        """
        name = _decode_retrieve(exchange.body).request_id
        if gone:
            self.forget(name)
        sample = self._samples.get(name)
        content_type = PROTOBUF if PROTOBUF in exchange.header("accept") else JSON
        if sample is None:
            self.counts["unknown future"] += 1
            exchange.reply(b'{"detail":"no such future"}', 410)
        elif sample.finished:
            self._give(sample, exchange, content_type)
        else:
            sample.watcher = watcher = (exchange, content_type)
            self._timers.call_later(self._hold, self._not_yet, sample, watcher)

    def _give(self, sample: Sample, exchange: Exchange, content_type: str) -> None:
        self.counts["given"] += exchange.open
        exchange.reply(
            _result(sample.first, self._result_tokens, sample.sequences, content_type), content_type=content_type
        )

    def _not_yet(self, sample: Sample, watcher: tuple[Exchange, str]) -> None:
        if sample.watcher is watcher:
            sample.watcher = None
            self.counts["not yet"] += 1
            watcher[0].reply(b'{"type":"try_again","queue_state":"active"}', 408)

    def retrieve_many(self, exchange: Exchange) -> None:
        """Say which samples of a sampler are finished, or hold the request until one is."""
        ask = _decode_many(exchange.body)
        key = (ask.target.sampling_session_id, ask.target.cloned_sampler_id)
        channel = self._channels.setdefault(key, _Channel())
        channel.events = [event for event in channel.events if event[0] > ask.prev_cursor]
        if channel.events or ask.timeout == 0:
            channel.answer(exchange)
            return
        channel.watcher = exchange
        self._timers.call_later(self._hold, self._nothing_yet, channel, exchange, channel.cursor)

    def _nothing_yet(self, channel: _Channel, exchange: Exchange, cursor: int) -> None:
        if channel.watcher is exchange and channel.cursor == cursor:
            channel.watcher = None
            channel.answer(exchange)
