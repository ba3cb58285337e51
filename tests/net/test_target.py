"""Targets: their first hop, their URL, and a repr without credentials."""

from __future__ import annotations

import pytest

from tinker_actors.net.target import Target


@pytest.mark.parametrize(
    ("scheme", "host", "port", "url"),
    [
        ("https", "example.com", 443, "https://example.com"),
        ("https", "example.com", 8443, "https://example.com:8443"),
        ("http", "example.com", 80, "http://example.com"),
        ("http", "::1", 8000, "http://[::1]:8000"),
    ],
)
def test_its_url_names_the_port_where_it_is_not_the_usual_one(scheme, host, port, url):
    target = Target(scheme=scheme, host=host, port=port)
    assert target.url == url
    assert target.hop == (host, port)


def test_the_first_hop_is_the_proxy_and_its_password_is_not_shown():
    target = Target(scheme="https", host="example.com", port=443, proxy="http://user:password@proxy.local:3128")
    assert target.hop == ("proxy.local", 3128)
    assert "proxy.local" in repr(target)
    assert "password" not in repr(target)
    assert "user" not in repr(target)


def test_equal_targets_share_a_place_in_a_table():
    assert len({Target(scheme="http", host="h", port=1), Target(scheme="http", host="h", port=1)}) == 1
