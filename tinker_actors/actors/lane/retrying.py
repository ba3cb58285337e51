"""Retrying: when what failed is sent again, and what is not sent while the server is in trouble.

Each item waits for its own backoff first. At an endpoint in trouble (`protocol/limits/retry_budget.py`) it then
waits in line for a token, and so does what was never sent. The line goes on when a token comes with time, or when a
lane announces that the server answers again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tinker_actors.actors.messages import EASED
from tinker_actors.protocol.limits.retry import full_jitter
from tinker_actors.protocol.replies.outcomes import Retry
from tinker_actors.runtime.timers import Timer

if TYPE_CHECKING:
    from tinker_actors.actors.lane.table import Desk

# Sent again in one turn of the lane, so that what is more urgent has its turn soon.
_TURN = 16


class Wait:
    """Something that waits to be sent; `cancel()` makes it never go."""

    __slots__ = ("_timer", "go")

    def __init__(self, go: Callable[[], object]) -> None:
        self.go: Callable[[], object] | None = go
        self._timer: Timer | None = None

    def after(self, timer: Timer) -> None:
        """Note what it waits for first."""
        self._timer = timer

    def cancel(self) -> None:
        """Forget it."""
        self.go = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Retrying:
    """The retrying hand of a lane; used on its thread only."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._budget = desk.settings.limits.budget
        self._lines: dict[str, deque[Wait]] = {}
        self._timer: Timer | None = None
        self._going = False
        self._left = 0

    def again(self, endpoint: str, item: Any, sent: float, retry: Retry, go: Callable[[], object]) -> None:
        """Send an item again when its backoff is over and the server may be asked.

        Args:
            endpoint: where it failed.
            item: what failed; its `failures` are counted and its `timer` is set.
            sent: when it was sent.
            retry: why it failed.
            go: sends it.
        """
        desk = self._desk
        now = desk.now()
        self._budget.failed(endpoint, sent, now, str(retry.error))
        delay = (retry.after or 0.0) + full_jitter(item.failures, desk.random.random())
        if not self._budget.troubled(endpoint):
            item.failures += 1  # in trouble the line spreads what is sent, and is over for all at once
        wait = Wait(go)
        wait.after(desk.timers.call_at(now + delay, partial(self._line_up, endpoint, wait)))
        item.timer = wait

    def line_up(self, endpoint: str, go: Callable[[], object]) -> Wait:
        """Send something to an endpoint in trouble, when it may be."""
        wait = Wait(go)
        self._line_up(endpoint, wait)
        return wait

    def well(self, endpoint: str) -> None:
        """Note a success, and tell all lanes when it lets something go."""
        if self._budget.succeeded(endpoint, self._desk.now()):
            self._desk.settings.limits.announce(EASED)

    def watch(self, endpoint: str, still: Callable[[], bool]) -> None:
        """Take a request that was just sent, and that servers hold, for a success if it has not failed after a while.

        Args:
            endpoint: where it was sent.
            still: whether it is still out.
        """
        if self._budget.troubled(endpoint):
            self._desk.later(self._budget.patience(endpoint), lambda: self.well(endpoint) if still() else None)

    def go_on(self) -> None:
        """Let go what may go, as much as one turn of the lane has time for."""
        if self._going:
            return
        self._going = True
        self._left = _TURN
        waits = {endpoint: self._drain(endpoint, line) for endpoint, line in list(self._lines.items())}
        self._going = False
        self._lines = {endpoint: line for endpoint, line in self._lines.items() if line}
        if self._lines:
            self._come_back(min(waits.get(endpoint, 0.0) for endpoint in self._lines))

    def _drain(self, endpoint: str, line: deque[Wait]) -> float:
        """Let go what there are tokens for; return after how many seconds to go on."""
        while line:
            go = line[0].go
            if go is not None:
                if not self._left:
                    return 0.0
                wait = self._budget.take(endpoint, self._desk.now())
                if wait:
                    return wait
                self._left -= 1
            line.popleft().go = None
            if go is not None:
                go()
        return 0.0

    def _line_up(self, endpoint: str, wait: Wait) -> None:
        line = self._lines.setdefault(endpoint, deque())
        line.append(wait)
        if len(line) == 1 and not self._going:
            self._come_back(0.0)

    def _come_back(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._desk.later(delay, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self.go_on()
