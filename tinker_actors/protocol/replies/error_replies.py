"""Error replies: an error answer, turned into text for people and an error of ours.

Servers answer errors as FastAPI JSON, as plain text, and, when something else answers in their place, as HTML.
Header values never get into a message: they may hold credentials.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tinker_actors.errors import APIResponseValidationError, APIStatusError, Outcome, class_for_status
from tinker_actors.loading import load
from tinker_actors.protocol.codec.wire_json import UNREADABLE, Reader, preview
from tinker_actors.protocol.limits.retry import retryable_status
from tinker_actors.secrets import scrubbed, without_secrets
from tinker_actors.wording import THROUGH_PROXY

CHECK_BASE_URL = "Check that the base URL is the address of a Tinker server, without /api/v1."

CHECK_PROXY = "Check the proxy: Config(proxy=), or HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment."

"""What messages say of a connection that was not made where a proxy was to make it."""

_TOO_LARGE = 413
_SEND_LESS = "Send less in one request; Config(max_chunk_bytes=) bounds those of training."
# What something other than a Tinker server answers on a path that it does not have, besides success.
_NOT_HERE = frozenset({404, 405, 410})

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WHERE_REDIRECTED = "Check that the base URL has the scheme, host and port that the server itself answers on."

_LONGEST_TEXT = 2000
_LONGEST_TITLE = 120
_MOST_PROBLEMS = 5
_LARGEST_KEPT_BODY = 65_536
_MARKUP = ("text/html", "application/xhtml+xml")
_ANYTHING: Reader[Any] = Reader(Any)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def media_type(headers: Mapping[str, str]) -> str:
    """Return the Content-Type in lower case without its parameters; empty when there is none."""
    return _media_type(headers.get("content-type", ""))


@functools.lru_cache(128)  # servers know a few
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def is_html(content_type: str, body: bytes) -> bool:
    """Return whether an answer is a web page (or other markup), which no Tinker server sends.

    The content tells: JSON that is called HTML is JSON all the same.
    """
    begin = body[:64].lstrip()
    return begin.startswith(b"<") or (content_type in _MARKUP and not begin.startswith(b"{"))


def html_text(body: bytes) -> str:
    """Return a sentence that says that HTML came, with the page's title if it has one."""
    load("html")
    import html  # noqa: PLC0415 - its table of 2,231 names is for the few who come to a web page

    found = _TITLE.search(body[:8192])
    title = " ".join(html.unescape(found.group(1).decode("utf-8", "replace")).split()) if found else ""
    return "the server answered with HTML" + (f' titled "{title[:_LONGEST_TITLE]}"' if title else "")


def json_body(body: bytes) -> Any:
    """Return the answer's JSON value, or None when it is no JSON."""
    try:
        return _ANYTHING.read(body)
    except UNREADABLE:
        return None


def detail_text(value: Any) -> str | None:
    """Return the text of a JSON error body, or None when it is not one of the known forms.

    Known are FastAPI's `{"detail": str | [{"loc", "msg"}]}`, `{"error": str | {"message"}}`, `{"error_message": str}`
    and `{"message": str}`.
    """
    if not isinstance(value, dict):
        return None
    for key in ("detail", "error", "error_message", "message"):
        text = error_text(value.get(key))
        if text:
            return text
    return None


def error_text(value: Any) -> str | None:
    """Return what stands under one of these keys as text of bearable length, or None when it says nothing."""
    text = _as_text(value)
    return text[:_LONGEST_TEXT] if text else None


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        message = value.get("message") or value.get("msg")
        return message if isinstance(message, str) else msgspec.json.encode(value).decode()
    if isinstance(value, list) and value:
        problems = [_problem(item) for item in value[:_MOST_PROBLEMS]]
        more = len(value) - len(problems)
        return "; ".join(problems) + (f"; and {more} more" if more > 0 else "")
    return None


def _problem(item: Any) -> str:
    """Return one entry of FastAPI's list as `place: message`, without the offending input, which can be megabytes."""
    if not isinstance(item, dict) or not isinstance(item.get("msg"), str):
        return str(item)[: _MOST_PROBLEMS * 40]
    place = item.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {item['msg']}" if where else item["msg"]


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, what: str, *, outcome: Outcome, request_id: str | None = None
) -> APIStatusError:
    """Return the error for an answer with an error status.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the answer's body.
        what: what was asked for, e.g. `"create_model"`; begins the message.
        outcome: what is known about the effect of the request.
        request_id: the server's id of the request, when it has one.
    """
    value: Any = None
    advice: str | None = None
    if status in _REDIRECTS and "location" in headers:
        text, advice = _redirected(headers["location"]), _WHERE_REDIRECTED
    elif is_html(media_type(headers), body):
        text, advice = html_text(body), CHECK_BASE_URL if status in _NOT_HERE else None
    else:
        value = json_body(body) if len(body) <= _LARGEST_KEPT_BODY else None
        if value is not None and without_secrets(shown := body.decode("utf-8", "replace")) != shown:
            value = scrubbed(value)
        text = detail_text(value) or (preview(body, 200) if body.strip() else "no reason given")
    if status == _TOO_LARGE:
        advice = _SEND_LESS
    return class_for_status(status)(
        f"{what} failed: {text}",
        body=value,
        status_code=status,
        request_id=request_id,
        retryable=retryable_status(status, headers),
        outcome=outcome,
        advice=advice,
    )


def broken_advice(kind: str, phase: str, message: str) -> str | None:
    """Return what may help where no complete answer came, by the arguments of `broken_outcome`; None for nothing."""
    if phase == "connect":
        return CHECK_PROXY if THROUGH_PROXY in message else CHECK_BASE_URL
    return CHECK_BASE_URL if kind == "protocol" else None


def _redirected(location: str) -> str:
    """Return what is wrong with a redirect, and where it leads, without what may be secret: user, query, fragment."""
    shown = location.partition("#")[0].partition("?")[0]
    scheme, slashes, rest = shown.partition("//")
    if slashes:
        host, slash, path = rest.partition("/")
        shown = f"{scheme}//{host.rpartition('@')[2]}{slash}{path}"
    return (
        f"it was redirected to {shown[:_LONGEST_TITLE]!r}. Only 307 and 308 within the server are followed, and only a "
        f"few in a row"
    )


def not_understood(
    status: int, headers: Mapping[str, str], body: bytes, what: str, why: str = "", *, request_id: str | None = None
) -> APIResponseValidationError:
    """Return the error for an answer that claims success and is not what the protocol promises."""
    if is_html(media_type(headers), body):
        text, advice = f"{what} failed: {html_text(body)}.", CHECK_BASE_URL
    else:
        shown = preview(body) if body else "empty"
        reason = f": {why}. It" if why else "; it"
        text, advice = f"The server's answer to {what} can't be understood{reason} is {shown}.", ""
    return APIResponseValidationError(text, status_code=status, request_id=request_id, advice=advice)


def bare(error: APIResponseValidationError) -> APIResponseValidationError:
    """Return the error, without where it was raised and what led to it.

    For what was wrong with an answer: the message says it, and the frames hold the answer itself, in which a server may
    have repeated a key. A crash report with locals would show it.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
