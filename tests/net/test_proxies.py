"""Which way the environment sends a request: through a proxy or not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinker_actors.net.proxies import proxy_from_environment
from tinker_actors.net.target import Target, proxy_authorization


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_environment_names_the_proxy(monkeypatch):
    assert proxy_from_environment("https://api.example") is None
    monkeypatch.setenv("no_proxy", "inner.example,127.0.0.1")
    assert proxy_from_environment("https://api.example") is None
    monkeypatch.setenv("https_proxy", "proxy:3128")

    assert proxy_from_environment("https://api.example") == "http://proxy:3128"
    assert proxy_from_environment("http://api.example") is None
    assert proxy_from_environment("https://inner.example:8443/base") is None
    monkeypatch.setenv("all_proxy", "http://all:1")
    assert proxy_from_environment("http://api.example") == "http://all:1"


@pytest.mark.parametrize(
    ("exceptions", "url", "direct"),
    [
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("192.168.1.0/24", "http://192.168.2.7", False),
        ("10.1.2.3", "http://10.1.2.3:8000/base", True),
        ("10.1.2.3", "http://10.1.2.30", False),
        ("a.corp:8000", "http://a.corp:8000", True),
        ("a.corp:8000", "http://a.corp:8001", False),
        (".corp", "http://b.corp", True),
        ("corp", "http://b.corp", True),
        ("corp", "http://notcorp", False),
        (" c.corp , other", "http://c.corp", True),
        ("D.CORP", "http://d.corp", True),
        ("[::1]", "http://[::1]:8000", False),  # requests knows no brackets here
        ("::1", "http://[::1]:8000", True),
        ("*", "http://anything.example", True),
        ("", "http://anything.example", False),
    ],
)
def test_exceptions_are_read_as_requests_reads_them(monkeypatch, exceptions, url, direct):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)

    assert (proxy_from_environment(url) is None) == direct


@pytest.mark.parametrize(("proxy", "loaded"), [("", False), ("http://proxy:3128", True)])
def test_requests_is_loaded_only_where_there_is_a_proxy(proxy, loaded):
    program = (
        "import sys\n"
        "from tinker_actors.net.proxies import proxy_from_environment\n"
        "proxy_from_environment('http://api.example')\n"
        "print('requests' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"http_proxy": proxy, "no_proxy": "other.example"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == str(loaded)


def target(port=1, **options):
    return Target(**{"scheme": "http", "host": "127.0.0.1", "port": port, **options})


def test_a_proxys_password_is_in_its_header_and_in_no_repr():
    proxy = "http://user:s%40cret@proxy.example:3128"

    assert proxy_authorization(proxy) == (("Proxy-Authorization", "Basic dXNlcjpzQGNyZXQ="),)
    assert proxy_authorization("http://proxy.example:3128") == ()
    assert "cret" not in repr(target(proxy=proxy))
    assert "proxy.example" in repr(target(proxy=proxy))
