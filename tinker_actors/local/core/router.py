"""Router: which handler a request goes to, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from tinker_actors.local.core import about, checkpointing, modeling, polling, sampling, sessions, training
from tinker_actors.local.core.messages import Answer, Hold, RefusedError

Handler = Callable[..., Answer | Hold]
"""(core, request, now, *ids of the path) -> answer or hold."""

PREFIX = "/api/v1/"

ROUTES: dict[str, tuple[str, Handler]] = {
    "healthz": ("GET", about.healthz),
    "get_server_capabilities": ("GET", about.get_server_capabilities),
    "client/config": ("POST", about.client_config),
    "client/dynamic_config": ("POST", about.client_dynamic_config),
    "telemetry": ("POST", about.telemetry),
    "create_session": ("POST", sessions.create_session),
    "session_heartbeat": ("POST", sessions.session_heartbeat),
    "sessions/{}/finish": ("POST", sessions.finish_session),
    "create_model": ("POST", modeling.create_model),
    "get_info": ("POST", modeling.get_info),
    "unload_model": ("POST", modeling.unload_model),
    "forward": ("POST", training.forward),
    "forward_backward": ("POST", training.forward_backward),
    "optim_step": ("POST", training.optim_step),
    "save_weights": ("POST", checkpointing.save_weights),
    "load_weights": ("POST", checkpointing.load_weights),
    "save_weights_for_sampler": ("POST", checkpointing.save_weights_for_sampler),
    "weights_info": ("POST", checkpointing.weights_info),
    "create_sampling_session": ("POST", sampling.create_sampling_session),
    "samplers/{}": ("GET", sampling.get_sampler),
    "asample": ("POST", sampling.asample),
    "retrieve_future": ("POST", polling.retrieve_future),
    "cancel_future": ("POST", polling.cancel_future),
}
"""Path below the prefix, `{}` for an id -> method and handler (wire protocol 2)."""


class Found(NamedTuple):
    """A handler, and the ids that the path holds."""

    handler: Handler
    ids: tuple[str, ...]


def route(method: str, path: str) -> Found:
    """Find the handler for a request.

    Args:
        method: the HTTP method.
        path: percent-encoded, with or without a query.

    Raises:
        RefusedError: 404 for a path that leads nowhere, 405 for a method it does not have.
    """
    bare = path.partition("?")[0]
    if bare.startswith(PREFIX):
        parts = bare.removeprefix(PREFIX).split("/")
        for pattern, (wanted, handler) in ROUTES.items():
            ids = _match(pattern.split("/"), parts)
            if ids is None:
                continue
            if method != wanted:
                raise RefusedError(405, f"{bare[:200]} is for {wanted}, not {method[:20]}.", ("allow", wanted))
            return Found(handler, ids)
    raise RefusedError(404, f"There is no {bare[:200]!r} on this server.")


def _match(pattern: list[str], parts: list[str]) -> tuple[str, ...] | None:
    if len(pattern) != len(parts):
        return None
    ids = []
    for expected, part in zip(pattern, parts, strict=True):
        if expected == "{}":
            ids.append(unquote(part))
        elif expected != part:
            return None
    return tuple(ids)
