"""Secrets: what this process sends and nobody shall read stays out of texts and of crash reports with locals."""

from __future__ import annotations

import base64
import html
import json
import os
import pickle
import traceback
from urllib.parse import quote

import pytest
import rich.traceback
from hypothesis import given
from hypothesis import strategies as st

import tinker_actors as ta
from tinker_actors import secrets
from tinker_actors.config import Config, resolve
from tinker_actors.secrets import STARS, Secret, holds_secret, keep_out, may_hold_secret, scrubbed, without_secrets

KEY = "tml-Zq8+Xw/3vPfK1dRt7yLm"
SHORT = "k3y"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(secrets, "_known", {})
    keep_out(KEY)
    keep_out(SHORT)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES = {
    "raw": KEY,
    "upper case": KEY.upper(),
    "JSON": json.dumps({"x-api-key": KEY}),
    "JSON with escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "JSON in JSON": json.dumps(json.dumps({"k": KEY.replace("/", "\\/")})),
    "Python": "".join(f"\\x{ord(c):02x}" for c in KEY),
    "URL": quote(KEY, safe=""),
    "URL, all of it": "".join(f"%{ord(c):02X}" for c in KEY),
    "URL twice": quote(quote(KEY, safe=""), safe=""),
    "HTML": html.escape(KEY),
    "HTML with numbers": "".join(f"&#{ord(c)};" for c in KEY),
    "HTML with hexadecimal numbers": "".join(f"&#x{ord(c):x};" for c in KEY),
    "hexadecimal": KEY.encode().hex(),
    "base64": b64(KEY),
    "base64 behind something": b64(f"x:{KEY}"),
    "base64 behind and before something": b64(f"xy:{KEY}:z"),
    "base64 for URLs": base64.urlsafe_b64encode(f"{KEY}".encode()).decode(),
    "the first half": KEY[: len(KEY) // 2],
    "the last half": KEY[len(KEY) // 2 :],
    "the middle": KEY[6:16],
    "twice": f"{KEY} {KEY}",
    "short": f"the key {SHORT}.",
}


@pytest.mark.parametrize("way", ECHOES)
def test_no_echo_of_the_key_is_left(way):
    echo = ECHOES[way]
    text = without_secrets(f"Your header was <{echo}>, which is wrong")
    assert text.startswith("Your header was <")
    assert text.endswith(">, which is wrong")
    assert STARS in text
    assert echo not in text
    for error in (ta.BadRequestError(echo), pickle.loads(pickle.dumps(ta.APIStatusError(echo))), ta.TinkerError(echo)):
        assert echo not in str(error)
        assert echo not in repr(error)
        assert STARS in str(error)


@given(st.text(max_size=30), st.integers(0, 16), st.integers(8, 24), st.text(max_size=30))
def test_every_run_of_eight_is_hidden(before, start, count, behind):
    run = KEY[start : start + count]
    if len(run) >= 8:
        assert run not in without_secrets(before + run + behind)


@pytest.mark.parametrize(
    "text", ["", "An ordinary text, 100 % of it & more \\ \\n", "k3ys monk3y", KEY[:7], "tml-", "%zz &nosuch; \\u12"]
)
def test_other_texts_stay_as_they_are(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("word", ["token", "key", "", "local"])
def test_a_key_that_is_an_everyday_word_costs_no_text(word):
    keep_out(word)
    assert without_secrets(f"a {word} b") == f"a {word} b"


def test_bodies_are_searched_whole():
    body = {"detail": [{"input": {"headers": {"x-api-key": KEY}}}, 5, None], KEY: True}
    assert KEY not in repr(scrubbed(body))
    assert scrubbed({"a": [1, "b", None]}) == {"a": [1, "b", None]}


def test_what_a_client_sends_is_kept_out_of_texts():
    config = Config(
        api_key="tml-another-key",
        default_headers={"Authorization": "Bearer abcdefgh", "X-Team": "application/json"},
        proxy="http://user:pass%20word@proxy:3128",
        allow_plaintext_key=True,
    )
    resolve(config, base_url="http://example.com", env={"CLOUDFLARE_ACCESS_CLIENT_SECRET": "cloud-secret"})
    for held in ("tml-another-key", "Bearer abcdefgh", "pass word", b64("user:pass word"), "cloud-secret"):
        assert without_secrets(f"x {held} y") == f"x {STARS} y"
    assert without_secrets("application/json") == "application/json"


# ---------------------------------------------------------------- crash reports


def test_a_secret_is_used_as_a_text_and_shown_as_stars():
    value = Secret(KEY)
    assert value == KEY
    assert f"{value}" == KEY
    assert value.encode() == KEY.encode()
    for shown in (repr(value), repr([value]), repr(value[:10]), repr({"a": (value,)}), repr(list(value))):
        assert not any(KEY[at : at + 4] in shown for at in range(len(KEY) - 4))
    assert json.loads(json.dumps({"k": value})) == {"k": KEY}


def reports(error: BaseException) -> list[str]:
    """Crash reports of an error, with the locals of the package's frames: Python's own, and rich's."""
    own = traceback.TracebackException.from_exception(error, capture_locals=True)
    richer = rich.traceback.Traceback.extract(type(error), error, error.__traceback__, show_locals=True)
    frames = [*own.stack, *(frame for stack in richer.stacks for frame in stack.frames)]
    ours = os.path.dirname(ta.__file__) + os.sep  # noqa: PTH120
    return [repr(frame.locals) for frame in frames if frame.filename.startswith(ours)]


HEADERS = {"Authorization": KEY}
WRONG = {
    "header": lambda: ta.ServiceClient(api_key=KEY, config=Config(default_headers={**HEADERS, "X Y": KEY})),
    "headers of a config": lambda: Config(api_key=KEY, default_headers={"X-Team": f"{KEY}\n"}),
    "key": lambda: ta.ServiceClient(base_url="http://localhost:1", api_key=f"{KEY}\n"),
    "key of the environment": lambda: ta.ServiceClient(base_url="http://example.com"),
    "URL": lambda: ta.ServiceClient(base_url="nowhere", api_key=KEY, config=Config(default_headers=HEADERS)),
    "user in the URL": lambda: ta.ServiceClient(base_url=f"http://u:{KEY.replace('/', '')}@h", api_key=KEY),
    "proxy": lambda: Config(api_key=KEY, proxy=f"socks5://u:{quote(KEY, safe='')}@proxy"),
    "metadata": lambda: ta.ServiceClient({"a": object()}, base_url="http://localhost:1", api_key=KEY),
    "plaintext": lambda: ta.ServiceClient(base_url="http://example.com", api_key=KEY),
    "type": lambda: Config(api_key=KEY, default_headers=HEADERS, max_submits="5"),
    "certificates": lambda: ta.ServiceClient(
        base_url="https://example.com", api_key=KEY, config=Config(cafile=__file__, default_headers=HEADERS)
    ),
}


@pytest.mark.parametrize("way", WRONG)
def test_crash_reports_with_locals_show_neither_key_nor_environment(way, monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("SOMETHING_ELSE", "of-the-environment")
    monkeypatch.delenv("TINKER_BASE_URL", raising=False)
    with pytest.raises(ta.TinkerError) as caught:
        WRONG[way]()
    found = reports(caught.value)
    assert found
    for report in found:
        assert "of-the-environment" not in report
        for form in (KEY, quote(KEY, safe=""), KEY.replace("/", "")):
            assert form not in report


@pytest.mark.parametrize(
    "name", ["tml-held-a1b2c3", "x:TML-held-a1b2c3:0", "tml%2Dheld%2Da1b2c3", "746d6c2d68656c642d613162326333"]
)
def test_a_name_that_holds_a_whole_secret_is_known(name):
    keep_out("tml-held-a1b2c3")
    assert holds_secret(name)


@pytest.mark.parametrize("name", ["", "tml-held-a1b2", "session-tml-held-", "session-1", "12-34", "x 1-2"])
def test_a_part_of_a_secret_or_a_short_one_within_is_no_reason_to_refuse_a_name(name):
    keep_out("tml-held-a1b2c3")
    keep_out("1-2")
    assert not holds_secret(name)
    assert holds_secret("1-2")


@given(
    st.lists(st.one_of(st.text(max_size=3), st.sampled_from(("tml-TÄST-a1b2", "a1b2c3d4e5", "1-2", "%2D", "&#45;")))),
    st.booleans(),
)
def test_a_json_text_with_a_name_that_holds_a_secret_is_looked_at(pieces, ascii_only):
    for secret in ("tml-täst-a1b2", "A1B2C3D4E5", "1-2"):
        keep_out(secret)
    name = "".join(pieces)
    text = json.dumps({"id": name}, ensure_ascii=ascii_only)
    if holds_secret(name):
        assert may_hold_secret(text.encode("utf-8", "surrogatepass"))


def test_a_plain_text_without_a_secret_is_not_looked_at_twice(monkeypatch):
    keep_out("tml-held-a1b2c3")
    assert not may_hold_secret(b'{"request_id":"f17","sample_sequence_ids":["f17-0"]}')
    assert may_hold_secret(b'{"request_id":"f17-TML-held-a1b2c3"}')
    monkeypatch.setattr(secrets, "_whole", ())  # a process without any
    assert not may_hold_secret(b"\\u0041")
