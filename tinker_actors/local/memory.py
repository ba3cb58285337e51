"""Memory: how much of it this process may use, as far as the system tells."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

_CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux has a container's limit, in version 2 and 1 of its control groups; `max` where there is none."""


def usable_memory() -> int:
    """Return how many bytes this process can have: what it is limited to, or three quarters of what the machine has."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4]  # other programs run there, too
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    for file in _CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(file).read_text()))
    return min(found)
