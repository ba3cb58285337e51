"""What can be asked for, and what is refused when it is asked for."""

from __future__ import annotations

import pytest

from tinker_actors.local.faults.rules import KINDS, Rule, make_rule, parse_rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("optim_step:reply_lost:times=1", Rule(endpoint="optim_step", kind="reply_lost", times=1)),
        ("*:delay:seconds=0.5:probability=0.1", Rule(endpoint="*", kind="delay", seconds=0.5, probability=0.1)),
        (
            "session_heartbeat:status=410:after_step=2",
            Rule(endpoint="session_heartbeat", kind="status", status=410, after_step=2),
        ),
        (
            "asample:status:status=502:html=true:reason=too busy",
            Rule(endpoint="asample", kind="status", status=502, html=True, reason="too busy"),
        ),
        ("client/config:corrupted", Rule(endpoint="client/config", kind="corrupted")),
    ],
)
def test_rules_can_be_written_as_text(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim_step", "kind"),
        ("optim_step:explode", "explode"),
        ("optim_step:reply_lost:once", "'once' is not FIELD=VALUE"),
        ("optim_step:reply_lost:when=1", "when"),
        ("optim_step:reply_lost:times=soon", "times"),
        ("optim_step:reply_lost:times=0", "times must be at least 1"),
        ("optim_step:reply_lost:every=0", "every must be at least 1"),
        ("optim_step:reply_lost:after=-1", "0 or more"),
        ("optim_step:reply_lost:probability=1.5", "probability must be 0 to 1"),
        ("optim_step:reply_lost:status=500", "reply_lost has no status"),
        ("optim_step:delay", "delay needs seconds"),
        ("optim_step:delay:seconds=-1", "0 or more"),
        ("optim_step:status:status=99", "can't have status 99"),
        ("optim_step:session_lost:status=500", "can't have status 500"),
        (":delay:seconds=1", "endpoint must not be empty"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(text, said):
    with pytest.raises(ValueError, match=said):
        parse_rule(text)


@pytest.mark.parametrize("kind", ["delay", "paused_rate_limit", "clock_skew"])
def test_no_seconds_at_all_are_a_number_of_seconds(kind):
    assert parse_rule(f"retrieve_future:{kind}:seconds=0") == Rule(endpoint="retrieve_future", kind=kind, seconds=0.0)


def test_every_kind_is_described():
    assert all(f"`{kind}`" in (Rule.__doc__ or "") for kind in KINDS)


def test_fields_that_are_none_count_as_left_out():
    assert make_rule({"endpoint": "*", "kind": None, "status": 503}) == Rule(endpoint="*", kind="status", status=503)
