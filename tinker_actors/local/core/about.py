"""About: what the server says of itself and its settings, and the telemetry that it accepts and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinker_actors.local.core.ports import BaseModelInfo
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.local.core.requests.reading import read
from tinker_actors.types.service import SupportedModel
from tinker_actors.types.wire import ClientConfigResponse

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


_SAMPLING = {"sample_use_retrieve_futures": True, "sample_join_sampling_session": True}
"""What only clients that know these calls look at."""


_TELEMETRY_KINDS = 100


class TelemetryEvent(msgspec.Struct):
    """What is looked at of an event."""

    event: str


class TelemetrySend(msgspec.Struct):
    """`POST telemetry`."""

    events: list[TelemetryEvent]


def healthz(_core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`GET healthz`."""
    return ok({"status": "ok"})


def get_server_capabilities(core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`GET get_server_capabilities`."""
    models = []
    for info in core.engine.base_models.values():
        known = SupportedModel(info.name, info.context_length, trainable=True, sampleable=True)
        models.append({**msgspec.to_builtins(known), **stand_in_note(info)})
    return ok({"type": "get_server_capabilities", "supported_models": models})


def stand_in_note(info: BaseModelInfo) -> dict[str, bool]:
    """Return what is said of a base model that only stands for a real one; nothing of the others."""
    return {"stand_in": True} if info.stand_in else {}


def client_config(core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`POST client/config`."""
    config = ClientConfigResponse(discards_gradients=True)
    # The Rust transport of the official client brings nothing on loopback.
    said = {"pjwt_auth_enabled": core.access.jwt, "use_pyqwest_transport": False}
    return ok({**msgspec.to_builtins(config), **_SAMPLING, **said})


def client_dynamic_config(_core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`POST client/dynamic_config`."""
    return ok({"refresh_interval_sec": 300, "sample_cancel_enabled": True})


def telemetry(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST telemetry`: accepted whatever it says; what can be read as events is counted by their kind."""
    try:
        events = read(request, TelemetrySend).events
    except RefusedError:
        events = [TelemetryEvent("UNREADABLE")]
    for event in events:
        if event.event in core.telemetry or len(core.telemetry) < _TELEMETRY_KINDS:
            core.telemetry[event.event] += 1
    return ok({"status": "accepted"})
