"""The stub's training: models made at once, steps of a fixed duration, logprobs of the right shape."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.stub.exchanges import JSON, PROTOBUF, Exchange
from benchmarks.stub.timers import Timers

_METRICS = {"loss:sum": 1.0}
_HOLD = 20.0


class _Tensor(msgspec.Struct):
    data: list[float]


class _Datum(msgspec.Struct):
    loss_fn_inputs: dict[str, _Tensor]


class _Data(msgspec.Struct):
    data: list[_Datum]


class _Pass(msgspec.Struct):
    forward_backward_input: _Data | None = None
    forward_input: _Data | None = None


class _Retrieve(msgspec.Struct):
    request_id: str


class Operation(NamedTuple):
    """An operation that was taken: when it is finished, and the lengths of its outputs; None when it has none."""

    due: float
    lengths: tuple[int, ...] | None
    result: dict[str, Any]


@cache
def _output(lengths: tuple[int, ...], content_type: str) -> bytes:
    logprobs = -np.random.default_rng(3).exponential(size=max(lengths)).astype(np.float32)
    if content_type == PROTOBUF:
        from tinker_actors.protocol.codec.protobuf.serving import encode_forward_backward_output

        return encode_forward_backward_output([{"logprobs": logprobs[:n]} for n in lengths], _METRICS)
    outputs = [
        {"logprobs": {"data": logprobs[:n].tolist(), "dtype": "float32", "shape": [n]}} for n in lengths
    ]  # fmt: skip
    return msgspec.json.encode(
        {"type": "forward_backward", "loss_fn_output_type": "ArrayRecord", "loss_fn_outputs": outputs,
         "metrics": _METRICS}
    )  # fmt: skip


class TrainingDesk:
    """Takes training operations. Order is not checked: what is measured is when they come and what they cost.

    Args:
        seconds: how long an operation takes.
        timers: for what comes later.
    """

    def __init__(self, seconds: float, timers: Timers) -> None:
        self._timers = timers
        self._seconds = seconds
        self._operations: dict[str, Operation] = {}
        self.counts: Counter[str] = Counter()

    def create_model(self, exchange: Exchange, model_id: str) -> None:
        """Make a model."""
        self._take(exchange, None, {"type": "create_model", "model_id": model_id}, 0.0)

    def optim_step(self, exchange: Exchange) -> None:
        """Take a step."""
        self._take(exchange, None, {"type": "optim_step", "metrics": {}}, self._seconds)

    def forward_backward(self, exchange: Exchange) -> None:
        """Take a pass over data in either dialect."""
        lengths = _lengths(exchange)
        self.counts["datums"] += len(lengths)
        self.counts["target tokens"] += sum(lengths)
        self.counts["bytes"] += len(exchange.body)
        self.counts[f"passes as {exchange.header('content-type')}"] += 1
        self._take(exchange, lengths, {}, self._seconds)

    def _take(
        self, exchange: Exchange, lengths: tuple[int, ...] | None, result: dict[str, Any], seconds: float
    ) -> None:
        name = f"t{len(self._operations)}"
        self._operations[name] = Operation(time.monotonic() + seconds, lengths, result)
        exchange.reply(msgspec.json.encode({"request_id": name}))

    def knows(self, body: bytes) -> bool:
        """Return whether the future that is asked for is one of training."""
        return msgspec.json.decode(body, type=_Retrieve).request_id in self._operations

    def retrieve(self, exchange: Exchange) -> None:
        """Answer when the operation is finished."""
        operation = self._operations[msgspec.json.decode(exchange.body, type=_Retrieve).request_id]
        seconds = min(operation.due - time.monotonic(), _HOLD)
        self._timers.call_later(seconds, _give, operation, exchange, exchange.header("accept"))


def _give(operation: Operation, exchange: Exchange, accepted: str) -> None:
    if operation.lengths is None:
        exchange.reply(msgspec.json.encode(operation.result))
    else:
        content_type = PROTOBUF if PROTOBUF in accepted else JSON
        exchange.reply(_output(operation.lengths, content_type), content_type=content_type)


def _lengths(exchange: Exchange) -> tuple[int, ...]:
    """Return the number of target tokens of each datum."""
    if exchange.header("content-type") == PROTOBUF:
        from tinker_actors.protocol.codec.protobuf.serving import parse_forward_backward_request

        data = parse_forward_backward_request(exchange.body).data
        return tuple(len(datum.loss_fn_inputs["target_tokens"].dense) // 8 for datum in data)
    parsed = msgspec.json.decode(exchange.body, type=_Pass)
    given = parsed.forward_backward_input or parsed.forward_input
    assert given is not None
    return tuple(len(datum.loss_fn_inputs["target_tokens"].data) for datum in given.data)
