"""Admission: how a sample gets room when those under way fill the memory they may take.

Threads that may block wait for room. A thread with a running event loop never blocks, nor does one of the runtime's
own, nor who calls through a proxy: there the future waits, in the same line.
"""

from __future__ import annotations

import sys
from typing import Any

from tinker_actors.actors.service import Service
from tinker_actors.clients.sample_request import SampleRequest
from tinker_actors.errors import QueueFullError
from tinker_actors.runtime.threads import on_own_thread

OVERHEAD = 4096
"""Bytes that a sample counts for besides its encoded request: its future, and its records here and in the lane."""


def wait_for_room(
    request: SampleRequest, service: Service, keeper: Any, patience: float | None, *, may_block: bool = True
) -> None:
    """Take room for a request that did not get it at once, or have it stand in line for it.

    What it holds or waits for when this raises is given back by cancelling its future.

    Args:
        request: its `size` says how much.
        service: what it belongs to.
        keeper: what has to be open still after the waiting.
        patience: seconds to block at most; None leaves it to the config. With 0 it neither blocks nor stands in line.
        may_block: whether the caller wants to be blocked at all.

    Raises:
        QueueFullError: there was no room in time, or too much stands in line already.
        ClientClosedError: the service client was closed meanwhile.
    """
    seconds = service.config.max_block if patience is None else min(patience, service.config.max_block)
    if seconds <= 0:
        raise _full(service, request.size, "There is no room")
    if not may_block or _must_not_block():
        if request.stand_in_line():
            return
        raise _full(service, request.size, "There is no room, not even for waiting,")
    taken = request.block(seconds)
    keeper._check_open("sample")
    if not taken:
        raise _full(service, request.size, f"Within {seconds:g} s there was no room")


def _must_not_block() -> bool:
    # Whoever has a running loop has loaded asyncio; the others need not.
    running = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
    return on_own_thread() or (running is not None and running() is not None)


def _full(service: Service, size: int, what: str) -> QueueFullError:
    budget = service.lanes.queue_budget
    return QueueFullError(
        f"{what} for a sample of {size} bytes: {budget.holders} samples hold {budget.held} bytes here, "
        f"{budget.waiting} bytes wait, and the limit is Config(queue_bytes={budget.limit})."
    )
