"""For how long nothing is submitted after a 429."""

from __future__ import annotations

import pytest

from tinker_actors.protocol.limits.rate_window import RateWindow


def test_it_lasts_as_long_as_the_server_said_and_a_longer_one_stays():
    window = RateWindow()
    window.refused(4.0, 100.0)
    window.refused(1.0, 101.0)
    assert window.until == 104.0
    window.refused(5.0, 102.0)
    assert window.until == 107.0


def test_what_the_server_accepts_ends_it():
    window = RateWindow()
    window.refused(4.0, 100.0)
    assert window.accepted(100.5)
    assert window.until == 100.5
    assert not window.accepted(100.6)  # there is none


def test_what_was_dealt_with_together_with_the_refused_does_not():
    window = RateWindow()
    window.refused(4.0, 100.0)
    assert not window.accepted(100.05)
    assert window.until == 104.0


def test_a_server_that_asks_for_no_wait_gets_one_that_grows_to_a_second():
    window, now, waits = RateWindow(), 0.0, []
    for _ in range(5):
        for _ in range(100):  # all that were on their way
            window.refused(0.0, now)
        waits.append(window.until - now)
        now = window.until
    assert waits == pytest.approx([0.25, 0.5, 1.0, 1.0, 1.0])
    window.accepted(now + 0.2)
    window.refused(0.0, now + 1.0)
    assert window.until - (now + 1.0) == pytest.approx(0.25)
