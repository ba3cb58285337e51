"""What each answer means (wire protocol 5.2, 5.3, 7.1)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors import errors
from tinker_actors.protocol.replies.outcomes import (
    CONFLICT_RETRIES,
    SPURIOUS_400S,
    UNREADABLE_RETRIES,
    Accepted,
    Done,
    Failed,
    FetchFull,
    Retry,
    Suspect,
    TryLater,
    Unreadable,
    broken_outcome,
    poll_outcome,
    reply_outcome,
    submit_outcome,
    taken_id,
)
from tinker_actors.protocol.replies.signals import read_signals, word_of

JSON = {"content-type": "application/json; charset=utf-8"}
DEEP = b'{"error":' + b"[" * 10_000
HTML = b"<!DOCTYPE html><html><head><title>Welcome\n to nginx &amp; co</title></head></html>"


def as_it_is(content_type, body):
    """Read whatever does not say that it is something else."""
    signals = read_signals(body)
    if "protobuf" not in content_type and (signals is None or word_of(signals) or signals.detail):
        raise errors.APIResponseValidationError("no result")
    return body


def submit(status, body=b"", headers=JSON):
    return submit_outcome(status, headers, body, 0.0, "optim_step")


def reply(status, body=b"", headers=JSON):
    return reply_outcome(status, headers, body, 0.0, "get_info", as_it_is)


def poll(status, body=b"", headers=JSON, spurious=0):
    return poll_outcome(status, headers, body, "req-1", 0.0, spurious, as_it_is)


# ---------------------------------------------------------------- submit


def test_a_submit_reply_names_the_request():
    body = b'{"request_id":"7","model_id":"m","sample_sequence_ids":["a","b"],"status":"pending","future_id":"7"}'
    assert submit(200, body) == Accepted("7", "m", ["a", "b"])
    assert submit(201, b'{"request_id":"7"}') == Accepted("7", None, None)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"", b"[]", b'{"request_id":7}', b'{"request_id":null}', b'{"sequences":[]}', b'{"request_id":"7"', DEEP],
)
def test_a_submit_reply_without_a_string_id_is_not_understood(body):
    outcome = submit(200, body)
    assert isinstance(outcome, Retry)
    assert outcome.limit == UNREADABLE_RETRIES  # damage on the way, perhaps
    assert isinstance(outcome.error, errors.APIResponseValidationError)
    assert "optim_step" in str(outcome.error)
    assert outcome.error.outcome == "unknown"  # the server may well have taken it


@pytest.mark.parametrize("decide", [submit, reply])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (402, errors.BillingError),
        (403, errors.PermissionDeniedError),
        (413, errors.APIStatusError),
        (422, errors.UnprocessableEntityError),
        (307, errors.APIStatusError),
    ],
)
def test_a_refusal_is_final_and_had_no_effect(decide, status, error):
    outcome = decide(status, b'{"detail":"because"}')
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error
    assert outcome.error.status_code == status
    assert outcome.error.outcome == "not_applied"
    assert outcome.error.retryable is False
    assert "because" in str(outcome.error)


@pytest.mark.parametrize("decide", [submit, reply, poll])
@pytest.mark.parametrize(
    ("status", "kind", "limit"),
    [
        (409, "transient", CONFLICT_RETRIES),
        (425, "transient", None),
        (429, "throttle", None),
        (500, "transient", None),
        (503, "transient", None),
    ],
)
def test_trouble_that_can_pass_is_retried_after_what_the_server_asks(decide, status, kind, limit):
    outcome = decide(status, b'{"detail":"busy"}', {"retry-after": "3"})
    if (decide, status) == (poll, 425):
        assert outcome == TryLater(after=3.0)  # too early for the result
        return
    assert isinstance(outcome, Retry)
    assert (outcome.kind, outcome.after, outcome.limit) == (kind, 3.0, limit)
    assert type(outcome.error) is errors.class_for_status(status)
    # What a server did not take had no effect; that a poll was not taken says nothing about the operation.
    assert outcome.error.outcome == ("not_applied" if status in (425, 429) and decide is not poll else "unknown")
    assert outcome.error.retryable is True


@pytest.mark.parametrize("decide", [submit, reply])
def test_a_408_outside_a_poll_says_that_the_request_was_not_received(decide):
    outcome = decide(408)
    assert isinstance(outcome, Retry)
    assert outcome.error.outcome == "not_applied"


@pytest.mark.parametrize("decide", [submit, reply, poll])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_that_was_not_followed_is_refused_by_name(decide, status):
    location = "https://user:secret@other.example:8443/v2/x?token=secret#secret"
    outcome = decide(status, b"<html>moved</html>", {"location": location, "content-type": "text/html"})
    assert isinstance(outcome, Failed)
    assert "redirected to 'https://other.example:8443/v2/x'" in str(outcome.error)
    assert "secret" not in str(outcome.error)
    assert outcome.error.advice


def test_an_id_that_another_operation_has_is_asked_for_again():
    outcome = taken_id("sample", "r-1")
    assert isinstance(outcome.error, errors.APIResponseValidationError)
    assert outcome.limit == UNREADABLE_RETRIES
    assert "'r-1'" in str(outcome.error)


@pytest.mark.parametrize("decide", [submit, reply, poll])
def test_the_server_overrides_what_is_repeated_both_ways(decide):
    assert isinstance(decide(503, b"", {"x-should-retry": "false"}), Failed)
    assert isinstance(decide(400, b'{"detail":"x"}', {"x-should-retry": "true"}), Retry)


@pytest.mark.parametrize("decide", [submit, reply, poll])
@pytest.mark.parametrize(("status", "error"), [(404, errors.NotFoundError), (410, errors.APIStatusError)])
def test_a_404_or_410_is_a_suspicion(decide, status, error):
    outcome = decide(status, b'{"detail":"no such thing"}')
    assert isinstance(outcome, Suspect)
    assert type(outcome.error) is error
    assert outcome.error.outcome == "unknown"


@pytest.mark.parametrize("decide", [submit, reply])
def test_an_empty_400_is_taken_for_a_proxys_mistake_a_few_times(decide):
    outcome = decide(400, b"", {"content-length": "0"})
    assert isinstance(outcome, Retry)
    assert outcome.limit == SPURIOUS_400S


# ---------------------------------------------------------------- plain replies


def test_a_plain_reply_is_handed_over_as_it_was_read():
    assert reply(200, b'{"session_id":"s"}').value == b'{"session_id":"s"}'
    assert reply(200, b"{}", {}).value == b"{}"


def test_a_plain_reply_that_can_not_be_read_is_asked_for_again():
    outcome = reply(200, b'{"session_id":')
    assert isinstance(outcome, Unreadable)
    assert outcome.error.status_code == 200


@pytest.mark.parametrize("decide", [submit, reply, poll])
@pytest.mark.parametrize(
    "body",
    [b'{"error":"no room"}', b'{"detail":"no room"}', b'{"type":"RequestFailedResponse","error_message":"no room"}'],
)
def test_a_failure_with_status_200_is_a_failure_everywhere(decide, body):
    outcome = decide(200, body)
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "no room"
    assert outcome.error.outcome == "unknown"


# ---------------------------------------------------------------- HTML


@pytest.mark.parametrize("decide", [submit, reply, poll])
@pytest.mark.parametrize("headers", [{"content-type": "text/html; charset=utf-8"}, {}])
@pytest.mark.parametrize("status", [200, 403, 404, 502])
def test_html_is_recognised_and_the_base_url_suspected_where_it_may_be_wrong(decide, headers, status):
    outcome = decide(status, HTML, headers)
    success = {reply: Failed, submit: Retry, poll: Unreadable}[decide]
    assert isinstance(outcome, {200: success, 403: Failed, 404: Suspect, 502: Retry}[status])
    message = str(outcome.error)
    assert "HTML" in message
    assert "Welcome to nginx & co" in message
    assert ("base URL" in message) is (status in (200, 404)), "a 403 or a 502 comes from something on the right way"


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"metrics":{}}',
        b'{"type":"optim_step","metrics":{"x":1.0}}',
        b'{"path":null,"type":"save_weights_for_sampler","sampling_session_id":"s"}',
        b'{"model_id":"m","status":"unloaded","type":"unload_model"}',
        b'{"status":"complete_metadata"}',
        b' {"metrics":{"error":1.0,"pending":2.0},"note":"try_again"}',
    ],
)
def test_anything_that_says_nothing_else_is_the_result(body):
    assert poll(200, body).value == body


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "Application/X-Protobuf; v=1"])
def test_protobuf_is_the_result_whatever_its_bytes(content_type):
    body = b"<\x08\x01error"
    assert poll(200, body, {"content-type": content_type}).value == body


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"type":"try_again","request_id":"r","queue_state":"active"}', TryLater("active", None)),
        (200, b'{"type":"try_again","queue_state":"paused_capacity","queue_state_reason":"full"}',
         TryLater("paused_capacity", "full")),
        (200, b'{"type":"try_again","queue_state":7,"queue_state_reason":null}', TryLater(None, None)),
        (200, b'{"type":"try_again","error":"x"}', TryLater(None, None)),
        (200, b'{"status":"pending"}', TryLater(None, None)),
        (408, b'{"type":"try_again","queue_state":"active"}', TryLater("active", None)),
        (408, b'{"detail":"Timeout waiting for result"}', TryLater(None, None)),
        (408, b"", TryLater(None, None)),
        (408, HTML, TryLater(None, None)),
        (425, b'{"detail":"too early"}', TryLater(None, None)),
        (200, b'{"type":"try_again","queue_state":"active","retry_after_ms":1500}', TryLater("active", None, 1.5)),
        (408, b'{"type":"try_again","retry_after_ms":"250"}', TryLater(None, None, 0.25)),
        (200, b'{"type":"try_again","retry_after_ms":-1}', TryLater(None, None)),
        (200, b'{"type":"try_again","retry_after_ms":true}', TryLater(None, None)),
        (200, b'{"status":"complete_metadata","response_payload_size":123}', FetchFull(123)),
        (200, b'{"status":"complete_metadata","response_payload_size":0,"error":"x"}', FetchFull(0)),
    ],
)  # fmt: skip
def test_a_poll_that_is_not_over_says_how_to_go_on(status, body, expected):
    assert poll(status, body) == expected


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"type":"try_again"}'), (200, b'{"status":"pending"}'), (408, b"")]
)
def test_not_yet_says_in_its_headers_too_when_to_ask_again(status, body):
    assert poll(status, body, {"retry-after": "2"}).after == 2.0
    assert poll(status, body, {"retry-after-ms": "300"}).after == 0.3


def big(**fields):
    return json.dumps({"tokens": list(range(2_000)), **fields}).encode()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "sample"}, Done),
        ({"nested": {"error": "x", "type": "try_again"}}, Done),
        ({"note": 'an "error" said'}, Done),
        ({"type": "try_again"}, TryLater),
        ({"status": "pending"}, TryLater),
        ({"status": "complete_metadata", "response_payload_size": 5}, FetchFull),
        ({"error": "x"}, Failed),
        ({"error": None}, Failed),
    ],
)
def test_a_large_answer_is_judged_like_a_small_one(fields, kind):
    assert len(big(**fields)) > 10_000
    assert type(poll(200, big(**fields))) is kind
    small = json.dumps(fields).encode()
    assert type(poll(200, small)) is kind


def test_an_escape_can_not_hide_a_telling_word():
    hidden = big(type="try_again").replace(b"try_again", rb"tr\u0079_again")
    assert poll(200, hidden) == TryLater()
    hidden = big(error="x").replace(b'"error"', rb'"\u0065rror"')
    assert isinstance(poll(200, hidden), Failed)


words = st.sampled_from(["error", "try_again", "pending", "complete_metadata", "type", "status", "x", "é", '"'])


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(words, words | st.none() | st.dictionaries(words, words)), st.booleans())
def test_looking_and_parsing_agree(fields, ascii_only):
    """The quick look at large bodies and the parse of small ones give the same answer."""
    small = json.dumps(fields, ensure_ascii=ascii_only).encode()
    large = json.dumps({**fields, "filling": [0] * 600}, ensure_ascii=ascii_only).encode()
    assert type(poll(200, small)) is type(poll(200, large))


@pytest.mark.parametrize("body", [b"", b"[1]", b'"x"', b'{"a":', b"busy", DEEP])
def test_a_finished_poll_that_is_no_json_object_is_not_understood(body):
    outcome = poll(200, body)
    assert isinstance(outcome, Unreadable)
    assert isinstance(outcome.error, errors.APIResponseValidationError)
    assert (outcome.error.request_id, outcome.error.status_code) == ("req-1", 200)


@pytest.mark.parametrize(
    ("body", "message", "category", "retryable"),
    [
        (b'{"error":"bad token","category":"user"}', "bad token", "user", False),
        (b'{"error":"broke","category":"server"}', "broke", "server", True),
        (b'{"error":"broke","category":"moon"}', "broke", "unknown", False),
        (b'{"error":"broke"}', "broke", "unknown", False),
        (b'{"error":null}', "The server failed the operation without saying why.", "unknown", False),
        (b'{"status":"failed","error":{"message":"m","category":"user"}}', "m", "user", False),
    ],
)
def test_a_failed_operation_says_what_the_server_said(body, message, category, retryable):
    outcome = poll(200, body)
    assert isinstance(outcome, Failed)
    error = outcome.error
    assert type(error) is errors.RequestFailedError
    assert (error.message, error.category, error.retryable) == (message, category, retryable)
    assert error.request_id == "req-1"


def test_a_step_behind_a_failed_gradient_says_what_preceded_it():
    outcome = poll(200, b'{"error":"gradient missing","category":"user","preceding_seq_id":4}')
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is errors.PrecedingOperationFailed
    assert outcome.error.outcome == "not_applied"
    assert "operation 4" in str(outcome.error)
    assert "gradient missing" in str(outcome.error)
    assert outcome.error.request_id == "req-1"


def test_a_400_with_a_reason_on_a_poll_is_a_failed_operation():
    outcome = poll(400, b'{"detail":"topk_prompt_logprobs is not supported"}')
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is errors.RequestFailedError
    assert outcome.error.message == "topk_prompt_logprobs is not supported"
    assert outcome.error.category == "unknown"
    assert outcome.error.status_code == 400


@pytest.mark.parametrize("body", [b"", b" ", HTML])
def test_an_empty_400_on_a_poll_is_repeated_three_times(body):
    kinds = [type(poll(400, body, spurious=count)) for count in range(5)]
    assert kinds == [Retry, Retry, Retry, Failed, Failed]


def test_a_400_with_other_text_on_a_poll_fails_at_once():
    outcome = poll(400, b"go away")
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is errors.BadRequestError
    assert "go away" in str(outcome.error)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, errors.AuthenticationError),
        (402, errors.BillingError),
        (403, errors.PermissionDeniedError),
        (422, errors.UnprocessableEntityError),
    ],
)
def test_other_refusals_of_a_poll_leave_the_outcome_unknown(status, error):
    outcome = poll(status, b'{"detail":"no"}')
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error
    assert outcome.error.outcome == "unknown"
    assert outcome.error.request_id == "req-1"


def test_no_header_value_gets_into_a_message():
    headers = {"content-type": "text/secret-sauce", "x-api-key": "tml-secret", "location": "http://u:tml-secret@h/"}
    for decide in (submit, reply, poll):
        for status in (307, 400, 401, 404, 429, 500):
            outcome = decide(status, b"", headers)
            assert "secret" not in str(outcome.error)
            assert "secret" not in repr(outcome.error.__dict__)


# ---------------------------------------------------------------- no answer


@pytest.mark.parametrize(
    ("kind", "message", "decision"),
    [
        ("connect", "Connection refused", Retry),
        ("timeout", "no answer in 45 s", Retry),
        ("reset", "Connection reset by peer", Retry),
        ("closed", "closed before the answer", Retry),
        ("tls", "EOF occurred in violation of protocol", Retry),
        ("tls", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", Failed),
        ("tls", "[SSL: WRONG_VERSION_NUMBER] wrong version number", Failed),
        ("protocol", "not HTTP", Failed),
        ("too_large", "over 1 GiB", Failed),
    ],
)
@pytest.mark.parametrize("sent", [True, False])
def test_a_broken_attempt_says_whether_the_server_can_have_seen_it(kind, message, decision, sent):
    outcome = broken_outcome(kind, "connect", message, sent, "create_session")
    assert type(outcome) is decision
    error = outcome.error
    assert type(error) is (errors.APITimeoutError if kind == "timeout" else errors.APIConnectionError)
    assert error.outcome == ("unknown" if sent else "not_applied")
    assert error.retryable is (decision is Retry)
    assert "create_session" in str(error)
    assert message in str(error)
    if isinstance(outcome, Retry):
        assert outcome.kind == "connection"


@settings(deadline=None)
@given(st.integers(100, 599), st.binary(max_size=40), st.sampled_from(["", "application/json", "text/html", "x/y"]))
def test_every_answer_means_something(status, body, content_type):
    headers = {"content-type": content_type}
    assert isinstance(submit(status, body, headers), Accepted | Retry | Failed | Suspect)
    assert isinstance(reply(status, body, headers), Done | Unreadable | Retry | Failed | Suspect)
    assert isinstance(poll(status, body, headers), Done | Unreadable | TryLater | FetchFull | Retry | Failed | Suspect)


@pytest.mark.parametrize(
    ("status", "doubtful", "final"), [(500, True, True), (500, False, False), (503, True, False), (502, True, False)]
)
def test_a_500_is_final_where_the_server_may_not_read_the_dialect(status, doubtful, final):
    outcome = submit_outcome(status, {}, b"Internal Server Error", 0.0, "forward", doubtful=doubtful)
    assert isinstance(outcome, Failed if final else Retry)
    assert outcome.error.status_code == status
    assert outcome.error.outcome == "unknown"


@pytest.mark.parametrize(
    ("kind", "phase", "message", "advice"),
    [
        ("connect", "connect", "could not connect to http://a: Connection refused", "Check that the base URL"),
        ("timeout", "connect", "could not connect to http://a: it did not answer in time", "Check that the base URL"),
        (
            "connect",
            "connect",
            "could not connect to http://a through the proxy: Connection refused",
            "Check the proxy",
        ),
        ("protocol", "wait", "the server's answer is not valid HTTP: junk", "Check that the base URL"),
        ("encoding", "wait", "the response claims to be compressed and is not", ""),
        ("too_large", "body", "the response's body is larger than 5 bytes", ""),
        ("reset", "wait", "the connection was reset", ""),
    ],
)
def test_advice_is_about_what_may_be_wrong(kind, phase, message, advice):
    error = broken_outcome(kind, phase, message, True, "sample").error
    assert error.advice.startswith(advice)
    assert bool(error.advice) is bool(advice)
