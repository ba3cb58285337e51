"""Error answers as text."""

from __future__ import annotations

import json

import pytest

from tinker_actors.errors import BadRequestError, InternalServerError, UnprocessableEntityError
from tinker_actors.protocol.replies.error_replies import detail_text, html_text, json_body, media_type, status_error

FASTAPI = {
    "detail": [
        {"type": "missing", "loc": ["body", "lora_config"], "msg": "Field required", "input": {"huge": "x" * 10_000}},
        {"type": "int", "loc": ["body", "data", 0, "rank"], "msg": "Input should be an integer", "input": "a"},
    ]
}


def failed(status, body, headers=None):
    return status_error(status, headers or {}, body, "create_model", outcome="not_applied")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"detail": "no"}, "no"),
        (FASTAPI, "body.lora_config: Field required; body.data.0.rank: Input should be an integer"),
        ({"detail": {"message": "m", "code": 1}}, "m"),
        ({"detail": {"code": 1}}, '{"code":1}'),
        ({"error": "no"}, "no"),
        ({"error": {"message": "no"}}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": [{"msg": "no"}, "text", {"odd": 1}]}, "no; text; {'odd': 1}"),
        ({"detail": ""}, None),
        ({"detail": []}, None),
        ({"other": "x"}, None),
        (["x"], None),
        (None, None),
    ],
)
def test_the_known_forms_are_read(value, expected):
    assert detail_text(value) == expected


def test_a_long_list_of_problems_is_cut():
    text = detail_text({"detail": [{"loc": [str(i)], "msg": "bad"} for i in range(50)]})
    assert text == "0: bad; 1: bad; 2: bad; 3: bad; 4: bad; and 45 more"


def test_what_is_nested_too_deeply_is_no_json():
    assert json_body(b'{"detail":' + b"[" * 10_000) is None
    assert isinstance(failed(422, b"[" * 10_000), UnprocessableEntityError)


def test_a_long_text_is_cut():
    assert len(detail_text({"detail": "x" * 100_000})) == 2_000


def test_the_message_says_what_failed_and_why_without_the_offending_input():
    error = failed(422, json.dumps(FASTAPI).encode())
    assert isinstance(error, UnprocessableEntityError)
    assert str(error).startswith("create_model failed: body.lora_config: Field required")
    assert "xxxx" not in str(error)
    assert error.body == FASTAPI  # for programs that look into it


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"Internal Server Error", "Internal Server Error"), (b"", "no reason given"), (b"\xff\xfe", "\ufffd")],
)
def test_text_that_is_no_json_is_shown(body, text):
    error = failed(500, body, {"content-type": "text/plain"})
    assert isinstance(error, InternalServerError)
    assert text in str(error)
    assert "status 500" in str(error)


def test_a_huge_body_is_neither_parsed_nor_kept():
    error = failed(400, json.dumps({"detail": "x" * 100_000}).encode())
    assert isinstance(error, BadRequestError)
    assert error.body is None
    assert len(str(error)) < 1_000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html></html>", "the server answered with HTML"),
        (b"<TITLE lang=en> 502\n Bad  Gateway </TITLE>", 'the server answered with HTML titled "502 Bad Gateway"'),
        (b"<title>" + b"x" * 500 + b"</title>", f'the server answered with HTML titled "{"x" * 120}"'),
        (b"<title>\xff</title>", 'the server answered with HTML titled "\ufffd"'),
    ],
)
def test_a_web_page_is_named_by_its_title(body, expected):
    assert html_text(body) == expected


def test_small_readers():
    assert media_type({"content-type": " Application/JSON ; charset=utf-8"}) == "application/json"
    assert media_type({}) == ""
    assert json_body(b"\xff") is None
    assert json_body(b"[1]") == [1]


@pytest.mark.parametrize(
    "body", [b"<html><title>413 Request Entity Too Large</title></html>", b'{"detail":"too large"}']
)
def test_a_request_that_is_too_large_is_to_be_smaller(body):
    error = failed(413, body)
    assert error.advice.startswith("Send less in one request")
    assert "base URL" not in str(error)
