"""Mutated requests: valid bodies of every route, in both dialects, with one to three things wrong with them."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from tinker_actors.data import Datum, ModelInput
from tinker_actors.local.core import CoreRequest, Limits
from tinker_actors.local.core.requests.router import ROUTES
from tinker_actors.local.core.rest.routes import REST_ROUTES
from tinker_actors.protocol.codec.protobuf.compression import compress_zstd
from tinker_actors.protocol.codec.protobuf.requests import encode_forward_backward_tail, head
from tinker_actors.protocol.codec.protobuf.schema import messages

LIMITS = Limits(body_bytes=200_000, samples_per_request=8, batched_sequences=8, hold_seconds=0.05)

ALL_ROUTES = [
    *((method, pattern) for pattern, (method, _) in ROUTES.items()),
    *((method, pattern) for method, pattern, _ in REST_ROUTES),
]
QUERIES = ["", "?limit=2&offset=0", "?limit=-1", "?offset=99999999999999999999", "?limit=x", "?cursor=%00", "?a=b&a=c"]

PROTOBUF = "application/x-protobuf"
PROTOBUF_SHARE = 0.15
"""How many requests are in protobuf, although one route of many takes it."""

ODD_FIELDS: list[Any] = [
    0, 1, -1, 2, 3, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63), 2**64 - 1, 0.5, -1e308,
    float("nan"), float("inf"), 1e-320, True, False, "", "x", "\x00", "cross_entropy", "ppo", "target_tokens",
    b"", b"x", b"\x00" * 4, b"\xff" * 12, b"\x00" * 8000,
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, -(2**63), 2**63, 2**64, 10**400, 1e308, -1e-320, 0.5, "", "x",
    "\x00", "\ud800", "é" * 300, "../../etc/passwd", "tinker://", "tinker://a/weights/b", "Infinity", [], [[]], [None],
    {}, {"": {}},
    {"type": "nonsense"}, [1, "a", None, {}], "9" * 5000,
]  # fmt: skip
ODD_BODIES = [
    b"", b" ", b"null", b"[]", b"{", b"}", b'"', b"\xff\xfe", b"\x00" * 50, b"NaN", b"1e999", b"[" * 100_000,
    b'{"a":' * 50_000, b"[1]" * 1000, b'{"model_id": "\xc3("}', b"\xef\xbb\xbf{}", b"{}" + b" " * 300_000,
    b'{"a":1,"a":2}',
    b'{"model_id":"x","session_id":"x","seq_id":%b,"model_seq_id":%b}' % (b"9" * 6000, b"9" * 6000),
    b"\x0a\x0fsess-1:train:0\x10\x01", b"\x28\xb5\x2f\xfd\x00",
]  # fmt: skip
ODD_HEADERS = [
    {"content-type": "application/x-protobuf"}, {"content-type": "text/html"}, {"content-type": ""},
    {"content-encoding": "zstd"}, {"content-encoding": "gzip, deflate"}, {"accept": "application/x-protobuf"},
    {"x-api-key": "tml-" + "a" * 5000}, {"x-tinker-request-type": "Nonsense"}, {"x-idempotency-key": "\u00e9"},
    {"range": "bytes=-1"}, {"range": "bytes=9999999999999-"}, {"authorization": "Bearer eyJ.eyJ.x"},
]  # fmt: skip
ODD_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", ""]
ODD_PATHS = [
    "", "/", "//", "/api", "/api/v1", "/api/v1/", "/api/v1//optim_step", "/api/v1/optim_step/", "/api/v1/%",
    "/api/v1/%ff%00", "/api/v1/samplers/" + "a/" * 500, "/api/v1/samplers/%2e%2e%2f", "*", "\u00e9",
    "/api/v1/optim_step?x=%zz&" + "a" * 5000,
]  # fmt: skip


class Ids:
    """A session with a model and samplers on some server, for bodies that are valid."""

    base_model = session = model = sampler = checkpoint = request = ""


def tensor(values: list[Any], dtype: str) -> dict[str, Any]:
    return {"data": values, "dtype": dtype, "shape": [len(values)]}


def valid_bodies(ids: Ids, seq_id: int) -> dict[str, Any]:
    """A valid body for each route that has a fixed one; all others get `{}`."""
    ones = tensor([1.0, 1.0, 1.0], "float32")
    inputs = [{"weights": ones}, {"logprobs": ones, "advantages": ones}]
    datums = [
        {
            "model_input": {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]},
            "loss_fn_inputs": {"target_tokens": tensor([2, 3, 4], "int64"), **more},
        }
        for more in inputs
    ]
    config = {"clip_low_threshold": 0.5, "clip_high_threshold": 1.5}
    passes = [
        {"data": datums[:1], "loss_fn": "cross_entropy", "loss_fn_config": None},
        {"data": datums[1:], "loss_fn": "ppo", "loss_fn_config": config},
    ][seq_id % 2]
    numbered = {"model_id": ids.model, "seq_id": seq_id}
    lora = {"rank": 4, "seed": 1, "train_mlp": True, "train_attn": True, "train_unembed": True}
    adam = {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "grad_clip_norm": 0.0}
    params = {"max_tokens": 4, "seed": 1, "stop": ["a"], "temperature": 1.0, "top_k": -1, "top_p": 1.0}
    prompt = {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 3]}]}
    return {
        "client/config": {"sdk_version": "0.38.0"},
        "telemetry": {"session_id": ids.session, "events": [], "platform": "x", "sdk_version": "0"},
        "create_session": {"tags": ["a"], "user_metadata": {"a": "b"}, "sdk_version": "0", "type": "create_session"},
        "session_heartbeat": {"session_id": ids.session, "type": "session_heartbeat"},
        "sessions/{}/finish": {"reason": {"type": "success"}, "detail": None},
        "create_model": {
            "session_id": ids.session, "model_seq_id": seq_id, "base_model": ids.base_model, "user_metadata": None,
            "lora_config": lora, "optimizer_config": {"type": "adamw"}, "type": "create_model",
        },
        "get_info": {"model_id": ids.model, "type": "get_info"},
        "unload_model": {"model_id": f"{ids.session}:train:9", "type": "unload_model"},
        "forward": {**numbered, "forward_input": passes},
        "forward_backward": {**numbered, "forward_backward_input": passes},
        "optim_step": {**numbered, "adam_params": adam, "type": "optim_step"},
        "save_weights": {**numbered, "path": f"s{seq_id}", "ttl_seconds": 3600, "type": "save_weights"},
        "load_weights": {**numbered, "path": ids.checkpoint, "optimizer": True, "type": "load_weights"},
        "save_weights_for_sampler": {**numbered, "path": None, "sampling_session_seq_id": seq_id, "ttl_seconds": None},
        "weights_info": {"tinker_path": ids.checkpoint},
        "create_sampling_session": {
            "session_id": ids.session, "sampling_session_seq_id": seq_id,
            "base_model": ids.base_model, "model_path": None,
        },
        "asample": {
            "sampling_session_id": ids.sampler, "seq_id": seq_id, "num_samples": 2, "prompt": prompt,
            "sampling_params": params, "prompt_logprobs": True, "topk_prompt_logprobs": 2, "type": "sample",
        },
        "join_sampling_session": {"sampling_session_id": ids.sampler},
        "stream_sample": {
            "sampling_session_id": ids.sampler, "seq_id": seq_id, "num_samples": 1, "prompt": prompt,
            "sampling_params": params, "type": "sample",
        },
        "sessions/search": {"owner": {"type": "own"}, "limit": 5, "cursor": None, "statuses": [{"type": "active"}]},
        "sessions/{}/project": {"project_id": "p"},
        "training_runs/{}/checkpoints/{ckpt}/ttl": {"ttl_seconds": 3600},
        "copy_weights": {"session_id": ids.session, "model_seq_id": seq_id, "source_path": ids.checkpoint},
        "retrieve_future": {"request_id": ids.request, "allow_metadata_only": True},
        "retrieve_futures": {
            "sampling_session_id": ids.sampler, "prev_cursor": 0, "retrieved_request_ids": [], "timeout": 0,
        },
        "cancel_future": {"request_id": ids.request},
    }  # fmt: skip


class Mutator:
    """Draws requests by a seed: mostly a valid one with one to three things wrong with it."""

    def __init__(self, seed: int, ids: Ids) -> None:
        self._random = random.Random(seed)
        self._ids = ids

    def request(self, seq_id: int) -> CoreRequest:
        draw = self._random
        if draw.random() < PROTOBUF_SHARE:
            return self._in_protobuf(seq_id)
        method, pattern = draw.choice(ALL_ROUTES)
        fillers = [self._ids.session, self._ids.sampler, self._ids.model, "weights/kept", "x", "%00", "..", ""]
        path = "/api/v1/" + re.sub(r"\{[^}]*\}", lambda _: draw.choice(fillers), pattern)
        path += draw.choice(QUERIES) if method == "GET" else ""
        headers = {"content-type": "application/json", "accept": "application/json"}
        value = valid_bodies(self._ids, seq_id).get(pattern, {})
        for _ in range(draw.randint(1, 3)):
            value = self._mutated(value)
        body = b"" if method == "GET" else self._encoded(value)
        if draw.random() < 0.05:
            method = draw.choice(ODD_METHODS)
        if draw.random() < 0.05:
            path = draw.choice(ODD_PATHS)
        if draw.random() < 0.1:
            headers |= draw.choice(ODD_HEADERS)
        return CoreRequest(method, path, headers, body)

    def _in_protobuf(self, seq_id: int) -> CoreRequest:
        draw = self._random
        tokens, inputs = [1, 2, 3], {"target_tokens": [2, 3, 4], "weights": [1.0, 1.0, 1.0]}
        data = [Datum(ModelInput.from_ints(tokens), inputs)] * draw.randint(1, 3)
        config = draw.choice([None, {"x": 1.0}, {"beta": 0.1}])
        tail = encode_forward_backward_tail(data, "cross_entropy", config, forward_only=draw.random() < 0.3)
        body = head(self._ids.model, seq_id) + tail
        headers = {"content-type": PROTOBUF, "accept": draw.choice([PROTOBUF, "application/json"])}
        for _ in range(draw.randint(0, 3)):
            body = self._cut_or_flipped(body) if draw.random() < 0.3 else self._changed(body)
        if draw.random() < 0.2:
            body = compress_zstd(body) or body
            body = self._cut_or_flipped(body) if draw.random() < 0.3 else body
            headers["content-encoding"] = "zstd"
        return CoreRequest("POST", "/api/v1/forward_backward", headers, body)

    def _cut_or_flipped(self, body: bytes) -> bytes:
        draw = self._random
        if draw.random() < 0.3:
            return body[: draw.randrange(len(body) + 1)]
        at = draw.randrange(len(body)) if body else 0
        return body[:at] + draw.randbytes(draw.randint(1, 3)) + body[at + 1 :]

    def _changed(self, body: bytes) -> bytes:
        """Return a message with one of its fields changed, if it can still be read."""
        kind = messages().ForwardBackwardRequest
        try:
            message = kind.FromString(body)
        except messages().decode_error:
            return body
        self._change_field(message)
        return bytes(message.SerializeToString())

    def _change_field(self, message: Any) -> None:
        draw = self._random
        field = draw.choice(message.DESCRIPTOR.fields)
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in list(value):
                if draw.random() < 0.5:
                    del value[key]
        elif field.message_type is not None and field.is_repeated:
            if value and draw.random() < 0.8:
                self._change_field(draw.choice(value))
            else:
                value.add()
        elif field.message_type is not None:
            value.SetInParent()
            self._change_field(value)
        elif draw.random() < 0.2:
            message.ClearField(field.name)
        else:
            self._set_field(message, field)

    def _set_field(self, message: Any, field: Any) -> None:
        draw = self._random
        for _ in range(20):  # not every odd value is one for every type
            odd = draw.choice(ODD_FIELDS)
            try:
                if field.is_repeated:
                    getattr(message, field.name).extend([odd] * draw.choice([1, 1, 3, 1000]))
                else:
                    setattr(message, field.name, odd)
            except (TypeError, ValueError, OverflowError):
                continue
            return

    def _encoded(self, value: Any) -> bytes:
        draw = self._random
        body = json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
        kind = draw.random()
        if kind < 0.08:
            return body[: draw.randrange(len(body) + 1)]
        if kind < 0.16 and body:
            at = draw.randrange(len(body))
            return body[:at] + draw.randbytes(draw.randint(1, 4)) + body[at + 1 :]
        return draw.choice(ODD_BODIES) if kind < 0.22 else body

    def _mutated(self, value: Any) -> Any:
        """Return the value with one thing changed, somewhere in it."""
        draw = self._random
        if isinstance(value, dict) and value and draw.random() < 0.9:
            key = draw.choice(list(value))
            changed = dict(value)
            kind = draw.random()
            if kind < 0.1:
                del changed[key]
            elif kind < 0.2:
                changed[draw.choice(["extra", "", "type", "seq_id", key + "_"])] = draw.choice(ODD_VALUES)
            else:
                changed[key] = self._mutated(value[key])
            return changed
        if isinstance(value, list) and value and draw.random() < 0.8:
            at = draw.randrange(len(value))
            kind = draw.random()
            if kind < 0.2:
                return value[:at] + value[at + 1 :]
            if kind < 0.3:
                return value * draw.choice([2, 100])
            return [*value[:at], self._mutated(value[at]), *value[at + 1 :]]
        if draw.random() < 0.05:
            return self._nested(draw.choice([50, 2000]))
        return draw.choice(ODD_VALUES)

    def _nested(self, depth: int) -> Any:
        value: Any = 1
        for _ in range(depth if depth < 500 else 400):
            value = [value] if self._random.random() < 0.5 else {"a": value}
        return value
