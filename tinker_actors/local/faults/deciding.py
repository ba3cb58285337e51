"""Deciding: whether a rule strikes a request.

Pure: neither time nor threads play a part, so that a run whose requests come in the same order meets the same faults.
Each rule draws for itself; adding one does not change what another one does.
"""

from __future__ import annotations

import hashlib

from tinker_actors.local.faults.rules import Rule

_BITS = 53  # a float64 holds no more


def chance(seed: int, rule: Rule, matched: int) -> float:
    """Return the number in [0, 1) that is drawn for a rule's `matched`-th request."""
    text = f"{seed}|{rule.name}|{rule.endpoint}|{rule.kind}|{matched}"
    drawn = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return float((drawn >> (64 - _BITS)) / (1 << _BITS))


def strikes(rule: Rule, seed: int, matched: int, struck: int) -> bool:
    """Return whether a rule strikes.

    Args:
        rule: the rule.
        seed: of the switchboard.
        matched: how many requests have matched the rule, this one included.
        struck: how many of them it has struck before.
    """
    if rule.times is not None and struck >= rule.times:
        return False
    concerned = matched - rule.after
    if concerned < 1 or concerned % rule.every:
        return False
    return chance(seed, rule, matched) < rule.probability
