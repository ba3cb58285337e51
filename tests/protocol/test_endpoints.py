"""The endpoint table."""

from __future__ import annotations

import pytest

from tinker_actors.protocol import endpoints
from tinker_actors.protocol.endpoints import ENDPOINTS, Endpoint


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_every_path_is_below_the_api(name):
    assert ENDPOINTS[name].path.startswith("/api/v1/")
    assert ENDPOINTS[name].method in {"GET", "POST"}


def test_what_the_next_beat_or_poll_repeats_anyway_is_not_retried():
    assert {name for name, endpoint in ENDPOINTS.items() if not endpoint.retried} == {
        "session_heartbeat",
        "retrieve_future",
    }


def test_what_creates_something_says_so():
    assert {name for name, endpoint in ENDPOINTS.items() if endpoint.creates} == {
        "create_session",
        "create_model",
        "create_sampling_session",
        "join_sampling_session",
    }
    assert all(endpoint.creates for name, endpoint in ENDPOINTS.items() if name.startswith(("create_", "join_")))


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [("s-1:sample:0", "/x/s-1:sample:0"), ("a/b", "/x/a%2Fb"), ("ä ?#", "/x/%C3%A4%20%3F%23")],
)
def test_ids_are_percent_encoded(sampler, expected):
    assert Endpoint("GET", "/x/{sampler_id}", creates=False).at(sampler_id=sampler) == expected


def test_a_forgotten_id_is_an_error():
    with pytest.raises(KeyError):
        ENDPOINTS["get_sampler"].at()


@pytest.mark.parametrize(
    ("request_type", "both"),
    [
        (endpoints.TYPE_SAMPLE, True),
        (endpoints.TYPE_FORWARD, True),
        (endpoints.TYPE_FORWARD_BACKWARD, True),
        (endpoints.TYPE_OPTIM_STEP, False),
        (endpoints.TYPE_CREATE_MODEL, False),
        (endpoints.TYPE_SAVE_WEIGHTS, False),
        (endpoints.TYPE_LOAD_WEIGHTS, False),
        (endpoints.TYPE_SAVE_WEIGHTS_FOR_SAMPLER, False),
    ],
)
def test_results_that_have_two_forms_are_asked_for_in_either(request_type, both):
    expected = "application/x-protobuf, application/json" if both else "application/json"
    assert endpoints.accept(request_type) == expected
