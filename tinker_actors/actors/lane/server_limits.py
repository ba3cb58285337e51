"""Server limits: what all lanes of a process share that talk to one server with one key, whatever their other settings.

A server counts requests by key and falls over as a whole: it does not know which of our clients a request came from.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any
from urllib.parse import urlsplit

from tinker_actors.config import Config
from tinker_actors.protocol.endpoints import API_KEY
from tinker_actors.protocol.limits.rate_window import RateWindow
from tinker_actors.protocol.limits.remarks import Outages, Remark
from tinker_actors.protocol.limits.retry_budget import RetryBudget
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.forks import on_fork

_DEFAULT_PORTS = {"http": 80, "https": 443}


class ServerLimits:
    """The retry budget and the rate window of one server and key. Thread-safe.

    Attributes:
        budget: what may be sent while the server is in trouble.
        window: for how long nothing is submitted after a 429.
        pause: when the server said last that it keeps operations waiting on purpose, and why; None if it never did.
            Written by lanes.
    """

    def __init__(self) -> None:
        self.budget = RetryBudget()
        self.window = RateWindow()
        self.pause: tuple[float, str] | None = None
        self._outages = Outages()
        self._lanes: frozenset[Ref] = frozenset()
        self._guard = threading.Lock()

    def join(self, lane: Ref) -> None:
        """Have a lane hear of what is announced. Lanes that have ended are forgotten."""
        with self._guard:
            self._lanes = frozenset(ref for ref in (*self._lanes, lane) if ref.is_alive())

    def remarks(self, now: float) -> list[Remark]:
        """Return what is new about the server since somebody asked, for the log."""
        with self._guard:
            return self._outages.look(now, self.budget.trouble, self.pause)

    def announce(self, message: Any) -> None:
        """Tell all lanes."""
        for lane in self._lanes:
            tell(lane, message)


_shared: weakref.WeakValueDictionary[Any, ServerLimits] = weakref.WeakValueDictionary()
_shared_guard = threading.RLock()  # taken by callers only, and again by a signal handler of theirs


def _forget() -> None:
    global _shared_guard  # noqa: PLW0603 - somebody may have held it when the process was forked
    _shared_guard = threading.RLock()
    _shared.clear()


on_fork(_forget)


def shared_server_limits(config: Config, platform: object) -> ServerLimits:
    """Return the limits of a config's server and key, the same for all that use them at a time. Thread-safe."""
    key = (platform, server_name(config.base_url or ""), _key(config))
    with _shared_guard:
        return _shared.get(key) or _shared.setdefault(key, ServerLimits())


def server_name(url: str) -> str:
    """Return a base URL in the form in which equal servers are equal: case, default port and last slash left out."""
    parts = urlsplit(url)
    port = parts.port
    if port == _DEFAULT_PORTS.get(parts.scheme):
        port = None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _key(config: Config) -> str | None:
    """Return the key that is sent, which a header of the user's own may be."""
    chosen = {name.lower(): value for name, value in config.default_headers.items()}
    return chosen.get(API_KEY.lower(), config.api_key)
