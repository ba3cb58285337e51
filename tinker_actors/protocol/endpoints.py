"""Endpoints: the paths, methods and header names of the wire, in one table.

Operations that carry data (`forward_backward`, `asample`, ...) bring their path along in their tail; here are the
control endpoints around them.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from tinker_actors.protocol.replies import plain
from tinker_actors.protocol.replies.plain import Read

API_KEY = "X-API-Key"
IDEMPOTENCY_KEY = "X-Idempotency-Key"
REQUEST_TYPE = "X-Tinker-Request-Type"
REQUEST_ITERATION = "X-Tinker-Request-Iteration"
SAMPLING_BACKPRESSURE = "X-Tinker-Sampling-Backpressure"

TYPE_CREATE_MODEL = "CreateModel"
TYPE_FORWARD = "Forward"
TYPE_FORWARD_BACKWARD = "ForwardBackward"
TYPE_OPTIM_STEP = "OptimStep"
TYPE_SAVE_WEIGHTS = "SaveWeights"
TYPE_LOAD_WEIGHTS = "LoadWeights"
TYPE_SAVE_WEIGHTS_FOR_SAMPLER = "SaveWeightsForSampler"
TYPE_SAMPLE = "Sample"

API = "/api/v1/"

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
EITHER = f"{PROTOBUF}, {JSON}"
"""`Accept` of a poll for a result that has two forms."""


class Endpoint(NamedTuple):
    """How to call one endpoint.

    Attributes:
        method: the HTTP method.
        path: absolute path below the base URL, with `{name}` where an id belongs.
        creates: whether a second request would make a second thing; all sendings of one request carry one idempotency
            key then. Without a default, so that nobody forgets to ask himself.
        request_type: the `X-Tinker-Request-Type` of the polls for its result, for endpoints that answer with a
            future; None otherwise.
        retried: whether a failed attempt is repeated. Where not, the next beat or poll is the repetition.
        read: reads the answer, for endpoints that answer at once. Default: all but a failure will do.
    """

    method: str
    path: str
    creates: bool
    request_type: str | None = None
    retried: bool = True
    read: Read = plain.acknowledgement

    def at(self, **ids: str) -> str:
        """Return the path with its ids filled in, percent-encoded (a slash too)."""
        return self.path.format(**{name: quote(value, safe=":") for name, value in ids.items()})


ENDPOINTS: dict[str, Endpoint] = {
    "client_config": Endpoint("POST", API + "client/config", creates=False, read=plain.client_config_response),
    "create_session": Endpoint("POST", API + "create_session", creates=True, read=plain.create_session_response),
    "session_heartbeat": Endpoint("POST", API + "session_heartbeat", creates=False, retried=False),
    "finish_session": Endpoint("POST", API + "sessions/{session_id}/finish", creates=False),
    "create_model": Endpoint("POST", API + "create_model", creates=True, request_type=TYPE_CREATE_MODEL),
    "get_info": Endpoint("POST", API + "get_info", creates=False, read=plain.get_info_response),
    "unload_model": Endpoint("POST", API + "unload_model", creates=False),
    "weights_info": Endpoint("POST", API + "weights_info", creates=False, read=plain.weights_info_response),
    "create_sampling_session": Endpoint(
        "POST", API + "create_sampling_session", creates=True, read=plain.create_sampling_session_response
    ),
    "join_sampling_session": Endpoint(
        "POST", API + "join_sampling_session", creates=True, read=plain.join_sampling_session_response
    ),
    "get_sampler": Endpoint("GET", API + "samplers/{sampler_id}", creates=False, read=plain.get_sampler_response),
    "get_server_capabilities": Endpoint(
        "GET", API + "get_server_capabilities", creates=False, read=plain.capabilities_response
    ),
    "retrieve_future": Endpoint("POST", API + "retrieve_future", creates=False, retried=False),
    "cancel_future": Endpoint("POST", API + "cancel_future", creates=False),
}
"""The control endpoints by name (wire protocol 2)."""

_HAVE_PROTOBUF = frozenset({TYPE_SAMPLE, TYPE_FORWARD, TYPE_FORWARD_BACKWARD})


def accept(request_type: str) -> str:
    """Return the `Accept` of the polls for a result: both dialects where the result has a protobuf form (4.1).

    Args:
        request_type: the `X-Tinker-Request-Type` of the polls.
    """
    return EITHER if request_type in _HAVE_PROTOBUF else JSON
