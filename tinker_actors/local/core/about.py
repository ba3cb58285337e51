"""About: what the server says of itself and its settings, and the telemetry that it accepts and drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinker_actors.local.core.messages import Answer, CoreRequest, ok
from tinker_actors.types.service import SupportedModel
from tinker_actors.types.wire import ClientConfigResponse

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


def healthz(_core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`GET healthz`."""
    return ok({"status": "ok"})


def get_server_capabilities(core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`GET get_server_capabilities`."""
    models = [
        SupportedModel(info.name, info.context_length, trainable=True, sampleable=True)
        for info in core.engine.base_models.values()
    ]
    return ok({"type": "get_server_capabilities", "supported_models": models})


def client_config(_core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`POST client/config`."""
    config = ClientConfigResponse(refuses_tainted_steps=True)
    # The Rust transport of the official client brings nothing on loopback.
    return ok({**msgspec.to_builtins(config), "pjwt_auth_enabled": False, "use_pyqwest_transport": False})


def client_dynamic_config(_core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`POST client/dynamic_config`."""
    return ok({"refresh_interval_sec": 300, "sample_cancel_enabled": True})


def telemetry(_core: CoreState, _request: CoreRequest, _now: float) -> Answer:
    """`POST telemetry`: accepted whatever it says."""
    return ok({"status": "accepted"})
