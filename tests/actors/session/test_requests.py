"""The requests of a session: each has an endpoint, and what reads its answer is the reader of that endpoint."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from tinker_actors.actors.session.requests import ENDPOINT_OF, READERS, CallName, configuration
from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol.endpoints import ENDPOINTS


def test_each_request_has_an_endpoint():
    assert set(ENDPOINT_OF) == set(get_args(CallName)) >= set(READERS)
    assert set(ENDPOINT_OF.values()) <= set(ENDPOINTS)


def test_the_servers_settings_are_read_and_kept_for_copies():
    said = {"proto_compress_fwdbwd": True, "something_new": 1}
    read, kept = configuration("application/json", json.dumps(said).encode())
    assert read.proto_compress_fwdbwd is True
    assert json.loads(kept) == said


@pytest.mark.parametrize("body", [b"[]", b"nonsense"])
def test_settings_that_are_none_are_refused(body):
    with pytest.raises(APIResponseValidationError):
        configuration("application/json", body)
