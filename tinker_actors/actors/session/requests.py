"""The requests that a session makes: what each is sent to, and what reads its answer."""

from __future__ import annotations

from typing import Literal

from tinker_actors.protocol.codec.wire_json import encode
from tinker_actors.protocol.replies.error_replies import json_body
from tinker_actors.protocol.replies.outcomes import Read
from tinker_actors.protocol.replies.plain import client_config_response, create_session_response
from tinker_actors.types.wire import ClientConfigResponse

CallName = Literal["client_config", "create_session", "heartbeat", "finish"]
"""What is asked."""


def configuration(content_type: str, body: bytes) -> tuple[ClientConfigResponse, bytes]:
    """Read the server's settings; also return them as plain JSON, for copies of samplers in other processes."""
    return client_config_response(content_type, body), encode(json_body(body))


READERS: dict[CallName, Read] = {"client_config": configuration, "create_session": create_session_response}
"""What reads the answer; an acknowledgement otherwise."""

ENDPOINT_OF: dict[CallName, str] = {
    "client_config": "client_config",
    "create_session": "create_session",
    "heartbeat": "session_heartbeat",
    "finish": "finish_session",
}
"""The endpoint of each request."""
