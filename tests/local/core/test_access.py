"""Access: keys, tokens, and owners who can't see each other."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local.core import CoreRequest, Hold, Limits
from tinker_actors.local.core.access import jwt
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.requests.router import OPEN, ROUTES
from tinker_actors.local.core.rest.routes import REST_ROUTES

ANN, BOB = "tml-key-of-ann", "tml-key-of-bob"
KEYS = {ANN: "ann", BOB: "bob"}
SECRET = b"0123456789abcdef"
WEIGHTS = "weights/c1"

ENDPOINTS = [
    *((method, path) for path, (method, _) in ROUTES.items()),
    *((method, path) for method, path, _ in REST_ROUTES),
]
OPEN_ENDPOINTS = [
    *((method, path) for path, (method, handler) in ROUTES.items() if handler in OPEN),
    *((method, path) for method, path, handler in REST_ROUTES if handler in OPEN),
]


@pytest.fixture
def guarded(make_driver):
    driver = make_driver(access=Access(KEYS, secret=SECRET))
    driver.key = ANN
    return driver


@pytest.fixture
def tokens(make_driver):
    driver = make_driver(access=Access(KEYS, jwt=True, secret=SECRET))
    driver.key = ANN
    return driver


def filled(path, model="m", session="s", sampler="x"):
    """Return an endpoint's path with ids in it."""
    first = {"sessions": session, "samplers": sampler}.get(path.partition("/")[0], model)
    return path.replace("{}", first).replace("{ckpt}", WEIGHTS)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_but_the_open_ones_needs_a_known_key(guarded, method, path):
    for key in ("", "tml-unknown", ANN + " ", ANN.upper(), "eyJhbGciOiJIUzI1NiJ9.e30.x"):
        guarded.key = key
        answer = guarded.raw(filled(path), b"{}", method)
        assert (answer.status == 401) is ((method, path) not in OPEN_ENDPOINTS)


def test_the_open_endpoints_are_these():
    assert OPEN_ENDPOINTS == [("GET", "healthz"), ("GET", "archives/{}/{ckpt}")]


@pytest.mark.parametrize("header", ["authorization", "x-api-keys", "cookie", "api-key"])
def test_a_key_counts_in_its_own_header_only(guarded, header):
    guarded.key = None
    for value in (ANN, f"Bearer {ANN}"):
        assert guarded.raw("sessions", method="GET", **{header: value}).status == 401
    assert guarded.raw(f"sessions?x-api-key={ANN}&api_key={ANN}", method="GET").status == 401
    assert guarded.raw("sessions", method="GET", **{"x-api-key": ANN}).status == 200


def test_neither_keys_nor_secrets_show(guarded):
    shown = repr(guarded.core.state.access) + repr(CoreRequest("GET", "/", {"x-api-key": ANN}))
    guarded.key = "tml-wrong"
    shown += repr(guarded.raw("sessions", method="GET"))
    kept = repr(vars(guarded.core.state.access))
    for secret in (ANN, BOB, "tml-wrong"):
        assert secret not in shown + kept
    assert repr(SECRET) not in shown


@pytest.mark.parametrize("keys", [{"": "ann"}, {"k": ""}])
def test_a_key_needs_a_key_and_an_owner(keys):
    with pytest.raises(ConfigError):
        Access(keys)


@pytest.fixture
def anns(guarded, bodies):
    """All that Ann has: ids by what they are."""
    session = guarded.session()
    model = guarded.model(session)
    path = guarded.saved(model, 1, "c1")
    sampler = guarded.sampler(session, 0, model_path=path)
    sampled = guarded.submit("asample", bodies.sample(sampler, 0))
    stepped = guarded.submit("forward_backward", bodies.forward_backward(model, 2))
    guarded.work()
    waiting = guarded.submit("optim_step", bodies.optim_step(model, 99))
    names = {"session": session, "model": model, "path": path, "sampler": sampler}
    return {**names, "sampled": sampled, "stepped": stepped, "waiting": waiting}


def attempts(anns, bodies, own_session):
    """Yield every way to use Ann's ids: endpoint, path, body."""
    session, model, path, sampler = (anns[name] for name in ("session", "model", "path", "sampler"))
    posts = {
        "session_heartbeat": [{"session_id": session}],
        "create_model": [{"session_id": session, "model_seq_id": n, "base_model": "local/ledger"} for n in (0, 7)],
        "get_info": [{"model_id": model}],
        "unload_model": [{"model_id": model}],
        "forward": [{"model_id": model, "seq_id": n, "forward_input": _given(bodies)} for n in (2, 3, None)],
        "forward_backward": [bodies.forward_backward(model, n) for n in (2, 3, None)],
        "optim_step": [bodies.optim_step(model, n) for n in (3, 99)],
        "save_weights": [{"model_id": model, "seq_id": n, "path": "c1"} for n in (1, 3)],
        "save_weights_external": [{"model_id": model, "seq_id": 3, "path": "c1"}],
        "save_weights_for_sampler": [
            {"model_id": model, "seq_id": 3, "path": "c1"},
            {"model_id": model, "seq_id": 3, "sampling_session_seq_id": 5},
        ],
        "load_weights": [
            {"model_id": model, "seq_id": 3, "path": path, "optimizer": False},
            {"session_id": session, "model_seq_id": 5, "path": path, "optimizer": False},
        ],
        "weights_info": [{"tinker_path": path}],
        "copy_weights": [{"source_path": path}, {"source_path": path, "session_id": own_session, "model_seq_id": 3}],
        "create_sampling_session": [
            {"session_id": session, "sampling_session_seq_id": n, "base_model": "local/ledger"} for n in (0, 8)
        ]
        + [{"session_id": own_session, "sampling_session_seq_id": 0, "model_path": path}],
        "join_sampling_session": [{"sampling_session_id": sampler}],
        "asample": [bodies.sample(sampler, n) for n in (0, 1, None)] + [bodies.sample(None, None, model_path=path)],
        "stream_sample": [bodies.sample(sampler, 1), bodies.sample(None, None, model_path=path)],
        "retrieve_future": [{"request_id": anns[name]} for name in ("sampled", "stepped", "waiting")],
        "retrieve_futures": [{"target": {"type": "sampling_session", "sampling_session_id": sampler}}],
        "cancel_future": [{"request_id": anns["sampled"]}],
        "sessions/{}/finish": [{"reason": {"type": "success"}, "detail": None}],
        "sessions/{}/project": [{"project_id": "mine"}],
        "training_runs/{}/checkpoints/{ckpt}/ttl": [{"ttl_seconds": 3600}],
    }
    for method, endpoint in ENDPOINTS:
        for body in posts.get(endpoint, [None]):
            yield method, endpoint, filled(endpoint, model, session, sampler), body


def _given(bodies):
    return bodies.forward_backward("", 1)["forward_backward_input"]


FOR_ALL = {
    "healthz", "get_server_capabilities", "client/config", "client/dynamic_config", "telemetry", "create_session",
    "auth/token", "auth/apikey/me", "archives/{}/{ckpt}",
}  # fmt: skip
"""Endpoints that take no id of anybody's; the last one's links are signed."""
LISTINGS = {
    "sessions": "", "training_runs": "", "checkpoints": "", "audit": "", "billing/usage/checkpoints/current": "",
    "billing/usage/events": "?starting_on=2027-01-15T00:00:00Z&ending_before=2027-01-16T00:00:00Z",
}  # fmt: skip


def test_another_owner_gets_a_404_for_whatever_is_anns(guarded, anns, bodies):
    guarded.key = BOB
    own = guarded.session()
    before = len(guarded.core.state.futures)
    tried = set()
    for method, endpoint, path, body in attempts(anns, bodies, own):
        if endpoint in FOR_ALL or endpoint in LISTINGS or endpoint == "sessions/search":
            continue
        answer = guarded.raw(path, json.dumps(body or {}).encode(), method)
        assert not isinstance(answer, Hold), (method, path, body)
        assert answer.status == _status_of_nothing(guarded, body), (method, path, body, answer)
        tried.add((method, endpoint))
    left = {endpoint for endpoint in ENDPOINTS if endpoint not in tried}
    assert {path for _, path in left} == FOR_ALL | set(LISTINGS) | {"sessions/search"}
    assert len(guarded.core.state.futures) == before
    assert guarded.work() == 0


def _status_of_nothing(driver, body):
    """404, but for ids of requests: they carry a number that says whether it was ever given out."""
    if "request_id" not in (body or {}):
        return 404
    made_up = body["request_id"].partition("-")[0] + "-made-up"
    status, _ = driver.call("retrieve_future", {"request_id": made_up})
    assert status in (404, 410)
    return status


def test_another_owner_gets_the_same_answer_as_for_what_never_was(guarded, anns, bodies):
    guarded.key = BOB
    own = guarded.session()
    hidden = list(attempts(anns, bodies, own))
    never = {name: re.sub(r"id\d+", "id777", text) for name, text in anns.items()}
    for (method, _, path, body), (_, _, other_path, other_body) in zip(
        hidden, list(attempts(never, bodies, own)), strict=True
    ):
        if path in FOR_ALL or (path == other_path and body == other_body) or "request_id" in (body or {}):
            continue
        said, expected = (
            guarded.raw(where, json.dumps(what or {}).encode(), method)
            for where, what in ((path, body), (other_path, other_body))
        )
        assert said.status == expected.status
        assert re.sub(rb"id\d+", b"", said.body) == re.sub(rb"id\d+", b"", expected.body)


def test_another_owners_lists_hold_nothing_of_anns(guarded, anns):
    lists = [*(("GET", path + query) for path, query in LISTINGS.items()), ("POST", "sessions/search")]
    seen = [json.dumps(guarded.good(path, {}, method)) for method, path in lists]
    assert sum(anns["session"] in text for text in seen) >= 5, "the lists do hold what is Ann's own"
    guarded.key = BOB
    for method, path in lists:
        said = json.dumps(guarded.good(path, {}, method))
        assert anns["session"] not in said
    asked = {"owner": {"type": "user", "owner_urns": ["tml:user:ann"]}}
    assert guarded.good("sessions/search", asked)["sessions"] == []


def test_ann_goes_on_as_if_nobody_had_tried(guarded, anns, bodies):
    guarded.key = BOB
    for method, endpoint, path, body in attempts(anns, bodies, guarded.session()):
        if endpoint not in FOR_ALL:
            guarded.raw(path, json.dumps(body or {}).encode(), method)
    guarded.key = ANN
    assert guarded.result(anns["stepped"])["type"] == "forward_backward"
    assert guarded.result(anns["sampled"])["type"] == "sample"
    assert guarded.get("sessions")["sessions"] == [anns["session"]]
    assert guarded.get(f"training_runs/{anns['model']}")["last_checkpoint"]["public"] is False


def test_what_is_published_can_be_read_by_all_and_changed_by_none(guarded, anns, bodies):
    place = f"training_runs/{anns['model']}/checkpoints/{WEIGHTS}"
    guarded.good(f"{place}/publish")
    guarded.key = BOB
    assert guarded.good("weights_info", {"tinker_path": anns["path"]})["lora_rank"] == 4
    session = guarded.session()
    guarded.sampler(session, 0, model_path=anns["path"])
    created = guarded.submit(
        "load_weights", {"session_id": session, "model_seq_id": 0, "path": anns["path"], "optimizer": True}
    )
    guarded.work()
    assert guarded.result(created)["type"] == "load_weights"
    copy = guarded.good("copy_weights", {"source_path": anns["path"]})["tinker_path"]
    assert [entry["tinker_path"] for entry in guarded.get("checkpoints")["checkpoints"]] == [copy]
    assert guarded.get("checkpoints")["checkpoints"][0]["public"] is False
    assert guarded.raw(f"{place}/archive", method="GET", host="h").status == 302
    for method, path in (("DELETE", place), ("POST", f"{place}/publish"), ("DELETE", f"{place}/publish")):
        assert guarded.call(path, None, method)[0] == 404
    assert guarded.call(f"{place}/ttl", {"ttl_seconds": None}, "PUT")[0] == 404
    guarded.key = ANN
    guarded.good(f"{place}/publish", None, "DELETE")
    guarded.key = BOB
    assert guarded.call("weights_info", {"tinker_path": anns["path"]})[0] == 404


def test_a_load_that_waits_sees_what_its_owner_may_see_when_its_turn_comes(guarded, anns):
    place = f"training_runs/{anns['model']}/checkpoints/{WEIGHTS}/publish"
    guarded.key = BOB
    session = guarded.session()
    bodies = [{"session_id": session, "model_seq_id": n, "path": anns["path"], "optimizer": False} for n in range(2)]
    hidden = guarded.submit("load_weights", bodies[0])
    guarded.work()
    assert "there is no checkpoint" in guarded.result(hidden)["error"]
    early = guarded.submit("load_weights", bodies[1])
    guarded.key = ANN
    guarded.good(place)
    guarded.work()
    guarded.key = BOB
    assert guarded.result(early)["type"] == "load_weights"


def test_another_owners_key_sent_along_opens_that_owners_checkpoints_for_one_request(guarded, anns):
    guarded.key = BOB
    session = guarded.session()
    body = {"source_path": anns["path"]}
    header = {"x-tinker-weights-access-token": ANN}
    assert guarded.raw("copy_weights", json.dumps(body).encode(), **header).status == 200
    assert guarded.raw("copy_weights", json.dumps(body).encode()).status == 404
    assert guarded.raw("copy_weights", json.dumps(body).encode(), **{next(iter(header)): "wrong"}).status == 400
    loading = {"session_id": session, "model_seq_id": 0, "path": anns["path"], "optimizer": False}
    created = guarded.submit("load_weights", {**loading, "weights_access_token": ANN})
    guarded.work()
    assert guarded.result(created)["type"] == "load_weights"


def test_a_session_that_is_gone_is_gone_for_its_owner_and_never_was_for_others(guarded, anns):
    guarded.good(f"sessions/{anns['session']}/finish", {"reason": {"type": "success"}, "detail": None})
    asked = {"session_id": anns["session"]}
    assert guarded.call("session_heartbeat", asked)[0] == 410
    guarded.key = BOB
    assert guarded.call("session_heartbeat", asked)[0] == 404
    assert guarded.call(f"sessions/{anns['session']}/finish", {"reason": {"type": "success"}, "detail": None})[0] == 404
    assert guarded.call("get_info", {"model_id": anns["model"]})[0] == 404


def test_ownership_survives_a_restart(guarded, anns, make_driver):
    again = make_driver(store=guarded.store, ids="new", access=Access(KEYS, secret=SECRET))
    again.key = BOB
    assert again.get("checkpoints")["checkpoints"] == []
    assert again.call("session_heartbeat", {"session_id": anns["session"]})[0] == 404
    hidden = again.call("retrieve_future", {"request_id": anns["stepped"]})[0]
    assert hidden == _status_of_nothing(again, {"request_id": anns["stepped"]})
    again.key = ANN
    assert again.get("checkpoints")["checkpoints"][0]["tinker_path"] == anns["path"]
    assert again.call("session_heartbeat", {"session_id": anns["session"]})[0] == 410
    assert again.result(anns["stepped"])["type"] == "forward_backward"


def test_a_finished_number_is_its_owners_even_if_its_session_is_forgotten(
    guarded, anns, bodies, make_driver, monkeypatch
):
    monkeypatch.setattr(guarded.store, "sessions", list)
    again = make_driver(store=guarded.store, ids="new", access=Access(KEYS, secret=SECRET))
    resent = bodies.forward_backward(anns["model"], 2)
    again.key = BOB
    assert again.call("forward_backward", resent)[0] == 404
    again.key = ANN
    assert again.submit("forward_backward", resent) == anns["stepped"]


def test_pending_futures_are_limited_by_owner_and_the_next_in_line_is_let_in(make_driver, bodies):
    driver = make_driver(Limits(open_futures=3), access=Access(KEYS, secret=SECRET))
    driver.key = ANN
    model = driver.model()
    sampler = driver.sampler()
    for seq_id in (2, 3, 4):
        driver.submit("forward_backward", bodies.forward_backward(model, seq_id))
    for path, body in (("optim_step", bodies.optim_step(model, 5)), ("asample", bodies.sample(sampler))):
        answer = driver.raw(path, json.dumps(body).encode())
        assert answer.status == 429
        assert dict(answer.headers)["retry-after"] == "1"
    driver.key = BOB
    driver.model()
    driver.key = ANN
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    driver.work()
    assert driver.submit("optim_step", bodies.optim_step(model, 5))


def test_a_key_says_whose_it_is_and_can_be_revoked(guarded):
    said = guarded.get("auth/apikey/me")
    assert (said["key_id"], said["name"]) == (1, "ann")
    assert said["details"] == {"org_details": {"name": "local"}, "user_details": {"email": "ann@localhost"}}
    guarded.good("auth/apikey/me", None, "DELETE")
    assert guarded.call("auth/apikey/me", None, "GET")[0] == 401
    guarded.key = BOB
    assert guarded.get("auth/apikey/me")["key_id"] == 2
    guarded.good("auth/apikey/me", None, "DELETE")
    guarded.key = None
    assert guarded.call("sessions", None, "GET")[0] == 401, "a server without keys left does not open up"


def test_a_server_without_keys_asks_for_none_and_has_none_to_revoke(driver):
    assert driver.get("auth/apikey/me")["name"] == "local"
    for driver.key in ("tml-whatever", "eyJhbGciOiJIUzI1NiJ9.e30.another-servers-token"):
        assert driver.get("sessions")["sessions"] == []
    assert driver.call("auth/apikey/me", None, "DELETE")[0] == 400


def test_tokens_are_off_unless_switched_on(guarded, tokens):
    assert guarded.good("client/config", {"sdk_version": "0"})["pjwt_auth_enabled"] is False
    assert guarded.call("auth/token", {})[0] == 404
    assert tokens.good("client/config", {"sdk_version": "0"})["pjwt_auth_enabled"] is True


def test_a_key_is_changed_for_a_token_that_says_who_one_is_and_works_for_an_hour(tokens):
    session = tokens.session()
    token = tokens.good("auth/token", {})["jwt"]
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert claims == {
        "iss": "passport-local", "sub": "tml:user:ann", "org_id": "local", "email": "ann@localhost",
        "iat": 1_800_000_100, "exp": 1_800_003_700,
    }  # fmt: skip
    tokens.key = token
    tokens.now += 3599
    assert tokens.get("sessions")["sessions"] == [session]
    assert tokens.call("auth/token", {})[0] == 401, "a token does not make another"
    tokens.now += 1
    answer = tokens.raw("sessions", method="GET")
    assert answer.status == 401
    assert 'error="invalid_token"' in dict(answer.headers)["www-authenticate"]
    tokens.key = ANN
    assert tokens.get("sessions")["sessions"] == [session], "the key itself works on"


def changed_claims(token, **changes):
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    text = base64.urlsafe_b64encode(json.dumps({**claims, **changes}).encode()).rstrip(b"=").decode()
    return f"{head}.{text}.{signature}"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: changed_claims(token, sub="tml:user:bob"),
        lambda token: changed_claims(token, exp=2_000_000_000),
        lambda token: token[:-1],
        lambda token: token + ".x",
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.replace(".", "", 1),
        lambda token: jwt.signed(jwt.claims_for("ann", 1_800_000_000, 3600), b"another secret"),
        lambda token: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0bWw6dXNlcjphbm4iLCJleHAiOjk5OTk5OTk5OTl9.",
        lambda token: "eyJ\xff\ud800.x.y",
    ],
)
def test_a_token_that_this_server_did_not_make_is_nobodys(tokens, spoil):
    tokens.key = spoil(tokens.good("auth/token", {})["jwt"])
    answer = tokens.raw("sessions", method="GET")
    assert answer.status == 401
    assert 'error="invalid_token"' in dict(answer.headers)["www-authenticate"]


def test_without_keys_tokens_speak_for_the_local_owner(make_driver):
    driver = make_driver(access=Access(jwt=True))
    session = driver.session()
    driver.key = driver.good("auth/token", {})["jwt"]
    assert driver.get("sessions")["sessions"] == [session]
    driver.now += 3600
    assert driver.call("sessions", None, "GET")[0] == 401
