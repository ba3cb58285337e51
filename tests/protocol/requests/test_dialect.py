"""The rule by which the dialect of training data is found out, as a table."""

from __future__ import annotations

import pytest

from tinker_actors.protocol.requests.dialect import DialectChoice, resends


def choice(given=None, answered=None, accepted=(), turned=None):
    made = DialectChoice(given)
    if answered is not None:
        made.presume(config_answered=answered)
    if turned is not None:
        made.turn_to(turned)
    for dialect in accepted:
        made.accepted(dialect)
    return made


UNKNOWN, ANSWERED, SILENT = {}, {"answered": True}, {"answered": False}


@pytest.mark.parametrize(
    ("known", "dialect", "proven"),
    [
        (UNKNOWN, "protobuf", False),
        (ANSWERED, "protobuf", False),
        (SILENT, "json", False),
        ({"given": "json", "answered": True}, "json", False),
        ({"given": "protobuf", "answered": False}, "protobuf", False),
        ({"answered": True, "accepted": ["protobuf"]}, "protobuf", True),
        ({"answered": True, "accepted": ["json"]}, "protobuf", False),  # a pointer to an image: no other form
        ({"answered": True, "turned": "json"}, "json", False),
        ({"answered": True, "turned": "json", "accepted": ["json"]}, "json", True),
        ({"answered": False, "turned": "protobuf"}, "protobuf", False),
    ],
)
def test_what_is_spoken(known, dialect, proven):
    made = choice(**known)
    assert (made.dialect, made.proven) == (dialect, proven)


def test_only_the_first_presumption_counts_and_none_behind_what_was_seen():
    made = choice(answered=False)
    made.presume(config_answered=True)
    assert made.dialect == "json"
    made = choice(accepted=["protobuf"])
    made.presume(config_answered=False)
    assert made.dialect == "protobuf"
    made = choice(turned="json")
    made.presume(config_answered=True)
    assert made.dialect == "json"


def test_turning_unlearns_what_was_proven_of_the_other_one():
    made = choice(accepted=["protobuf"])
    made.turn_to("protobuf")
    assert made.proven
    made.turn_to("json")
    assert (made.dialect, made.proven) == ("json", False)
    made.turn_to("json", proven=True)
    assert made.proven


PROVEN = {"accepted": ["protobuf"]}
GIVEN = {"given": "protobuf"}


@pytest.mark.parametrize(
    ("known", "sent_in", "status", "remedy"),
    [
        (UNKNOWN, "protobuf", 400, "probe"),
        (UNKNOWN, "protobuf", 422, "probe"),
        (UNKNOWN, "protobuf", 500, "probe"),
        (UNKNOWN, "protobuf", 415, "resend"),
        (SILENT, "json", 400, "probe"),
        (SILENT, "json", 415, "resend"),
        (PROVEN, "protobuf", 400, "fail"),
        (PROVEN, "protobuf", 500, "fail"),
        (PROVEN, "protobuf", 415, "resend"),
        (PROVEN, "json", 400, "probe"),  # encoded before it was known
        (PROVEN, "json", 415, "resend"),
        (GIVEN, "protobuf", 400, "fail"),
        (GIVEN, "protobuf", 415, "fail"),
        *[(UNKNOWN, "protobuf", status, "fail") for status in (None, 401, 402, 403, 404, 409, 410, 413, 429, 501, 503)],
    ],
)
def test_what_a_refusal_asks_for(known, sent_in, status, remedy):
    made = choice(**known)
    before = made.dialect, made.proven
    assert made.remedy(sent_in, status) == remedy
    assert (made.dialect, made.proven) == before


@pytest.mark.parametrize("in_part", [True, False])
@pytest.mark.parametrize("refused_in", ["json", "protobuf"])
@pytest.mark.parametrize("taken_in", ["json", "protobuf", None])
def test_data_are_sent_again_only_where_the_dialect_was_the_reason(taken_in, refused_in, in_part):
    wrong_dialect = taken_in is not None and taken_in != refused_in
    assert resends(taken_in, refused_in, in_part=in_part) == (wrong_dialect and not in_part)
