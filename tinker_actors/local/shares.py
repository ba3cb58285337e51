"""Shares: what of the server's memory each kind of thing may take, so that all of them together fit into it.

Each limit on memory is a part of one sum. So it does not matter which of them are reached at the same time; a server in
a container of 1 GiB takes less of everything than one that has a machine.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.requests.intake import PARTS_PER_DATUM

_MIB = 2**20

OWN_BYTES = 192 * _MIB
"""What the process takes when nothing is asked of it: libraries, and the stacks and heaps of its threads."""

LEAST_BYTES = 64 * _MIB
"""What is shared out at least, also where there is less: the server should do something."""

# Of a hundred, and the most of it that is of use; None for what can use any amount, which gets what others leave.
_SHARES: dict[str, tuple[int, int | None]] = {
    "computing_bytes": (37, 1024 * _MIB),
    "arriving_bytes": (6, 160 * _MIB),
    "opening": (12, 224 * _MIB),
    "held_bytes": (5, 384 * _MIB),
    "drawing_bytes": (6, None),
    "result_bytes": (6, 256 * _MIB),
    "adapter_bytes": (8, None),
    "sampler_bytes": (13, None),
    "checkpoint_bytes": (2, None),
    "unwritten_bytes": (1, 64 * _MIB),
    "unread_bytes": (2, 256 * _MIB),
    "past_bytes": (2, 32 * _MIB),
}

# How the share of the one body that is being read is parted: what it is, its numbers, its lists and objects.
_BODY, _VALUES, _CONTAINERS = 0.3, 0.4, 0.3
_VALUE_BYTES, _CONTAINER_BYTES = 40, 200


def shares(memory: int) -> dict[str, int]:
    """Return how many bytes each kind gets; together no more than there are.

    Args:
        memory: bytes to share out.
    """
    found = {name: _capped(memory * part // 100, most) for name, (part, most) in _SHARES.items()}
    left = memory - sum(found.values())
    growing = {name: part for name, (part, most) in _SHARES.items() if most is None}
    for name, part in growing.items():
        found[name] += left * part // sum(growing.values())
    return found


def _capped(size: int, most: int | None) -> int:
    return size if most is None else min(size, most)


def limits_within(memory: int, given: Mapping[str, float]) -> Limits:
    """Return the limits of a server.

    Args:
        memory: bytes that the process may take, without its models.
        given: limits that hold as they are, by name.
    """
    parts = shares(max(memory - OWN_BYTES, LEAST_BYTES))
    opening = parts.pop("opening")
    parts["past_bytes"] //= 2  # of sessions, and of runs
    parts["body_bytes"] = int(opening * _BODY)
    parts["body_values"] = int(opening * _VALUES) // _VALUE_BYTES
    parts["datums_per_request"] = int(opening * _CONTAINERS) // (_CONTAINER_BYTES * PARTS_PER_DATUM)
    usual = msgspec.structs.asdict(Limits())
    found = {name: part if usual[name] is None else min(part, usual[name]) for name, part in parts.items()}
    return Limits(**{**found, **given})  # type: ignore[arg-type]  # whole numbers where they are meant
