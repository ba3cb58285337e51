"""The transport port's records: nothing in a request's repr that must not be logged."""

from __future__ import annotations

from tinker_actors.net.transport import Broken, NoFiles, Request


def test_a_request_shows_its_path_and_size_and_no_content():
    request = Request(
        "POST", "/x?y=1", (("Authorization", "secret"),), (b"secret", b"more"), own_headers=(("K", "secret"),)
    )
    assert repr(request) == "<Request POST /x?y=1, 10 bytes>"


def test_having_no_file_left_is_a_broken_attempt_of_which_nothing_was_sent():
    broken = NoFiles("connect", "connect", "no files", sent=False)
    assert isinstance(broken, Broken)
    assert not broken.sent
