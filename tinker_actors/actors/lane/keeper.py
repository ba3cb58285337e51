"""The lanes of one server: three polling workers, shared by every client with the same address and key.

Heartbeats and creation, training, and sampling have a lane each, so that thousands of samples can't delay a heartbeat.
The keeper starts the lanes, asks each for a sign of life, and replaces one that died or is stuck; the tables of what
is under way stay.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Literal

import msgspec
import pykka

from tinker_actors.actors.lane.actor import Lane
from tinker_actors.actors.lane.arrivals import Arrivals
from tinker_actors.actors.lane.server_limits import shared_server_limits
from tinker_actors.actors.lane.table import LaneSettings, Table, fail_without_lane
from tinker_actors.actors.lane.work import Call, SessionLink, Work
from tinker_actors.actors.messages import ARRIVED, Cancel, Forget, Shutdown
from tinker_actors.actors.platform import Platform
from tinker_actors.config import Config
from tinker_actors.errors import ActorCrashedError, ClientClosedError, ConfigError, TinkerError
from tinker_actors.events.records import LaneReplaced
from tinker_actors.protocol.limits.remarks import WAITING_FOR_WEIGHTS, Waiting
from tinker_actors.runtime.actor import Describe, Executor, Ping, Ref, RuntimeActor, Terminated, logger, tell
from tinker_actors.runtime.byte_budget import ByteBudget
from tinker_actors.runtime.forks import on_fork
from tinker_actors.runtime.hub import EventHub
from tinker_actors.runtime.restarts import RestartIntensity
from tinker_actors.runtime.threads import log_failure, log_safely

LaneName = Literal["control", "train", "sample"]
LANES: tuple[LaneName, ...] = ("control", "train", "sample")

# A lane never blocks, so one that owes an answer over several beats is stuck. Beats are counted, not seconds: when the
# whole process stood still, everybody is late once.
_BEAT_EVERY = 5.0
_MOST_BEATS_OWED = 3
# A lane that died more often than the restart intensity allows rests this long before it is tried again.
_REST = 1.0


class Lanes:
    """The lanes of one server and key. Thread-safe.

    Args:
        config: address, key, times and limits.
        platform: what the lanes run on.

    Attributes:
        server: knows whether the server answers.
        ended: why nothing is carried any more, or None. Written by the keeper.
    """

    keeper: Ref

    def __init__(self, config: Config, platform: Platform) -> None:
        self.hub = EventHub(platform.delivery)
        self.queue_budget = ByteBudget(config.queue_bytes, lambda: tell(self.keeper, _Admit()))
        self.refs: dict[str, Ref] = {}
        self.tables: dict[str, Table] = {name: {} for name in LANES}
        self._arrivals: dict[str, Arrivals] = {name: Arrivals() for name in LANES}
        self._users: dict[SessionLink, None] = {}
        self._retired = False  # nobody joins any more
        self.ended: TinkerError | None = None
        limits = shared_server_limits(config, platform)
        self.server = limits.budget
        settings = {
            name: LaneSettings(
                name, config, self.tables[name], limits, platform.wall, name == "sample", self._arrivals[name]
            )
            for name in LANES
        }
        try:
            LaneKeeper.start(platform.control, self, settings, platform)
        except BaseException:  # it could start no lanes; or an interrupt, and nobody will use those it started
            if hasattr(self, "keeper"):
                tell(self.keeper, StopLanes())
            raise

    def submit(self, lane: LaneName, work: Work) -> None:
        """Have a lane carry an operation. It is in the table before the lane hears of it, so a crash loses nothing."""
        self.tables[lane][work.id] = work
        if self._arrivals[lane].put(work):
            self._wake(lane, ARRIVED)

    def call(self, lane: LaneName, call: Call) -> None:
        """Have a lane make a plain request."""
        self.tables[lane][call.id] = call
        self._wake(lane, call)

    def cancel(self, lane: LaneName, work: Work) -> None:
        """Drop a work, and tell the server if it knows of it."""
        self._wake(lane, Cancel(work.id))

    def forget(self, lane: LaneName, work_ids: tuple[int, ...]) -> None:
        """Drop works whose owner has failed them."""
        if work_ids:
            self._wake(lane, Forget(work_ids))

    def wake_sampling(self, message: Any) -> None:
        """Tell the sample lane that samples may go that wait for something; where it carries none, nothing waits."""
        if self.tables["sample"]:
            self._wake("sample", message)

    def broadcast(self, message: Any) -> None:
        """Tell every lane."""
        for name in LANES:
            self._wake(name, message)

    def _wake(self, lane: str, message: Any) -> None:
        ref = self.refs.get(lane)
        if ref is None or tell(ref, message):
            return
        if self.refs.get(lane) is not ref:
            self._wake(lane, message)
        elif self.ended is not None:
            self.turn_away(lane, self.ended)
        # Else it has a successor soon, which begins with the table.

    def turn_away(self, lane: str, error: TinkerError) -> None:
        """Fail what was given to a lane that is gone, and whatever is given to it until there is another."""
        self._arrivals[lane].begin()  # first: whoever finds the mark set has put his work where this looks
        fail_without_lane(self.tables[lane], error)

    def join(self, link: SessionLink) -> bool:
        """Count a service in that uses the lanes; return False when they are about to end, or have ended.

        Takes no lock, and neither does `leave`: callers come here, signal handlers of theirs, and the dispatcher. Who
        joins counts himself first and looks afterwards, and who leaves does it the other way round.
        """
        self._users[link] = None
        if not self._retired and self.keeper.is_alive():
            return True
        self.leave(link)
        return False

    def leave(self, link: SessionLink) -> bool:
        """Count a service out; the last one stops the lanes. Return whether it did. The second time nothing happens."""
        if link not in self._users:
            return False
        self._users.pop(link, None)
        if self._users:
            return False
        self._retired = True
        if self._users:  # somebody joined before he could see that
            return False
        tell(self.keeper, StopLanes())
        return True

    def users(self) -> list[SessionLink]:
        """Return the sessions of the services that use the lanes."""
        return list(self._users)

    def under_way(self, session: Any) -> list[Work | Call]:
        """Return what belongs to a session and is not finished."""
        return [item for table in self.tables.values() for item in list(table.values()) if item.session is session]


class StopLanes(msgspec.Struct, frozen=True, eq=False):
    """To the keeper: stop the lanes and yourself."""


class _Admit(msgspec.Struct, frozen=True, eq=False):
    """To the keeper: let in who waits for room in the byte budget."""


class _Beat(msgspec.Struct, frozen=True, eq=False):
    """To the keeper, from itself: look after the lanes."""


class _StartAgain(msgspec.Struct, frozen=True, eq=False):
    """To the keeper, from itself: start a lane that died too often, after a rest."""

    name: LaneName
    error: BaseException | None


class LaneKeeper(RuntimeActor):
    """Starts, watches and replaces the lanes."""

    title = "lane keeper"

    def __init__(
        self, executor: Executor, lanes: Lanes, settings: dict[LaneName, LaneSettings], platform: Platform
    ) -> None:
        super().__init__(executor)
        self._lanes = lanes
        lanes.keeper = self.actor_ref
        self._settings = settings
        self._platform = platform
        self._pings: dict[str, tuple[int, pykka.Future[Any]]] = {}
        self._restarts = {name: RestartIntensity() for name in LANES}
        self._waiting = Waiting()
        # Started here, not in on_start, so that the lanes are there when the constructor returns.
        try:
            for name in LANES:
                self._start(name)
        except BaseException as error:
            self.end(ActorCrashedError(f"The lanes could not be started: {error!r}."))
            raise

    def on_start(self) -> None:
        """Begin to watch."""
        self.tell_later(_BEAT_EVERY, _Beat())

    def receive(self, message: Any) -> Any:
        """Handle a message; see the classes above."""
        if isinstance(message, Terminated):
            self._ended(message)
        elif isinstance(message, _StartAgain):
            self._replace(message.name, message.error)
        elif isinstance(message, _Admit):
            self._lanes.queue_budget.admit()
        elif isinstance(message, _Beat):
            self._look()
            self._tell_story()
            self.tell_later(_BEAT_EVERY, _Beat())
        elif isinstance(message, StopLanes):
            self.end(ClientClosedError("The lanes were closed with this request under way."))
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return how many lanes there are, and whether the server answers."""
        trouble = self._lanes.server.trouble
        return f"{len(self._lanes.refs)} lanes" + (f"; the server does not answer: {trouble}" if trouble else "")

    def _start(self, name: LaneName) -> None:
        settings = self._settings[name]
        executor, connect = self._platform.lane(name, settings.config)
        lane = Lane(executor, settings, connect)
        lane.monitor(self.actor_ref)
        self._lanes.refs[name] = lane.actor_ref
        executor.run(lane)

    def settle(self, error: TinkerError) -> None:
        """End the lanes, which fail what they carry, and the sessions that would go on with them."""
        self._lanes.ended = error
        for name, ref in self._lanes.refs.items():
            if not tell(ref, Shutdown(error)):
                self._lanes.turn_away(name, error)
        for link in self._lanes.users():
            if link.ref is not None:
                tell(link.ref, Shutdown(error))

    def _ended(self, message: Terminated) -> None:
        for name in LANES:
            if self._lanes.refs.get(name) is message.ref:
                if self._restarts[name].allow(self.now()):
                    self._replace(name, message.error)
                else:
                    crash = ActorCrashedError(f"The {name} lane can't be kept alive: {message.error!r}.")
                    self._lanes.turn_away(name, crash)
                    self.tell_later(_REST, _StartAgain(name, message.error))

    def _replace(self, name: LaneName, error: BaseException | None) -> None:
        in_flight = len(self._settings[name].table)
        self._pings.pop(name, None)
        try:
            self._start(name)
        except (OSError, RuntimeError, ConfigError):  # what the environment says of the way may have changed
            self.tell_later(_REST, _StartAgain(name, error))
            log_failure(logger, "The %s lane can't be started now; it is tried again", name)
        else:
            log_failure(logger, "The %s lane was replaced; its successor takes over %d requests", name, in_flight)
            self._lanes.hub.emit(LaneReplaced(name, in_flight, error))

    def _tell_story(self) -> None:
        """Log what is new about the server."""
        settings = self._settings["control"]
        for level, text in settings.limits.remarks(self.now()):
            number = logging.WARNING if level == "warning" else logging.INFO
            log_safely(logger, number, "The server at %s %s", settings.config.base_url, text)
        trackers = [work.tracker for work in list(self._lanes.tables["sample"].values()) if isinstance(work, Work)]
        waiting = [(each.reason, each.since) for each in trackers if each.reason in WAITING_FOR_WEIGHTS]
        for _, text in self._waiting.look(self.now(), waiting):
            log_safely(logger, logging.WARNING, "%s", text)

    def _look(self) -> None:
        """Send pings, and replace a lane that owes an answer for too long."""
        for name in LANES:
            ref = self._lanes.refs[name]
            owed, answer = self._pings.get(name, (0, None))
            if answer is None or _answered(answer):
                self._pings[name] = (0, ref.ask(Ping(), block=False))
            elif owed + 1 < _MOST_BEATS_OWED:
                self._pings[name] = (owed + 1, answer)
            else:
                # The thread can't be killed; once it wakes up it finds itself stopped and its works held by another.
                ref.actor_stopped.set()
                self._replace(name, None)


def _answered(answer: pykka.Future[Any]) -> bool:
    try:
        answer.get(timeout=0)
    except pykka.Timeout:
        return False
    except pykka.ActorDeadError:
        return True
    return True


_shared: dict[Any, Lanes] = {}
# Taken by callers only, so that they don't make lanes for nothing, and again by a signal handler of theirs.
_making = threading.RLock()


def _forget_lanes() -> None:
    global _making  # noqa: PLW0603 - somebody may have held it when the process was forked
    _making = threading.RLock()
    _shared.clear()


on_fork(_forget_lanes)


def shared_lanes(config: Config, platform: Platform, link: SessionLink) -> Lanes:
    """Return the process's lanes for this address, key and these limits, and count a session in. Thread-safe."""
    fields = msgspec.structs.asdict(config)
    fields["default_headers"] = tuple(sorted(config.default_headers.items()))
    key = (platform, *fields.values())
    lanes: Lanes | None = None
    try:
        with _making:
            lanes = _shared.get(key)
            while lanes is None or not lanes.join(link):
                lanes = Lanes(config, platform)
            # A handler that interrupts this makes its own, and whichever of them is told last is found by the next.
            _shared[key] = lanes
            return lanes
    except BaseException:  # an interrupt
        if lanes is not None:
            lanes.join(link)  # so that new ones have somebody to leave them
            release_lanes(lanes, link)
        raise


def release_lanes(lanes: Lanes, link: SessionLink) -> None:
    """Count a session out; the last one stops the lanes. Thread-safe; the second time nothing happens."""
    if lanes.leave(link):
        for key, value in list(_shared.items()):
            if value is lanes:
                _shared.pop(key, None)  # lanes made meanwhile that it takes out are made once more


def give_up_lanes(link: SessionLink) -> None:
    """Count a session out of whatever lanes it has joined, by whose opening they were not handed over."""
    for lanes in list(_shared.values()):
        release_lanes(lanes, link)


def lane_states(lanes: Lanes) -> dict[str, pykka.Future[Any]]:
    """Ask every lane for its one-line state."""
    return {name: ref.ask(Describe(), block=False) for name, ref in lanes.refs.items()}
