"""The simulated network: joins lanes and the embedded server's core, and misbehaves by a seed.

Each request draws its fate: how long it travels, whether it or its answer is lost, whether it arrives twice, whether
the server is too busy to look at it. The core sees what a real server would see; the lanes see what real sockets would
report.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Literal

import msgspec

from tinker_actors.local.core import Answer as CoreAnswer
from tinker_actors.local.core import CoreRequest, Hold, JobKind, ServiceCore
from tinker_actors.net.transport import Answer, Broken, Reply, Request
from tinker_actors.testing.step import StepRuntime

Fate = Literal["delivered", "refused", "request_lost", "answer_lost", "twice", "busy", "throttled"]


class Mishaps(msgspec.Struct, frozen=True, kw_only=True):
    """How often each thing goes wrong, as probabilities per request; what is left over goes well.

    Attributes:
        refused: no connection; the server sees nothing.
        request_lost: sent, and never arrives.
        answer_lost: arrives, is answered, and the answer is lost.
        twice: arrives twice, the second time later.
        busy: answered 503 without being looked at.
        throttled: answered 429 without being looked at.
        slow: chance that a journey takes up to `longest` instead of milliseconds.
        longest: seconds.
    """

    refused: float = 0.02
    request_lost: float = 0.04
    answer_lost: float = 0.06
    twice: float = 0.06
    busy: float = 0.04
    throttled: float = 0.02
    slow: float = 0.15
    longest: float = 3.0


CALM = Mishaps(refused=0, request_lost=0, answer_lost=0, twice=0, busy=0, throttled=0, slow=0)
"""Nothing goes wrong."""

_QUICK = 0.01
_JOB_TIME = 0.05


class SimulatedNetwork:
    """Carries requests between lanes and a core, on a step runtime.

    Args:
        core: the server.
        runtime: clock and timers.
        seed: draws the fates.
        mishaps: how often things go wrong.

    Attributes:
        fates: how often each fate was drawn.
        up: whether the server can be reached; set it to False to take the server away.
        gone: a status with which everything is answered without being looked at, as by a proxy that has forgotten its
            server; None for none.
    """

    def __init__(self, core: ServiceCore, runtime: StepRuntime, seed: int, mishaps: Mishaps) -> None:
        self.core = core
        self.mishaps = mishaps
        self.fates: dict[Fate, int] = {}
        self.up = True
        self.gone: int | None = None
        self._runtime = runtime
        self._random = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self._held: list[tuple[Hold, Callable[[CoreAnswer], object]]] = []

    def transport(self) -> SimulatedTransport:
        """Return a transport for one lane."""
        return SimulatedTransport(self)

    # ------------------------------------------------------------ journeys

    def carry(self, request: Request, deliver: Callable[[Answer], None]) -> None:
        """Send a request on its way. `deliver` is called at most once; the caller sees to timeouts."""
        fate = self._draw()
        if fate == "refused":
            self._later(self._journey(), lambda: deliver(_broken("connect", "connect", sent=False)))
        elif fate == "busy":
            self._later(self._journey(), lambda: deliver(_reply(503, b'{"detail":"busy"}')))
        elif fate == "throttled":
            self._later(self._journey(), lambda: deliver(_reply(429, b'{"detail":"slow down"}')))
        elif fate == "request_lost":
            self._later(self._journey(), lambda: deliver(_broken("reset", "wait", sent=True)))
        else:
            self._later(self._journey(), lambda: self._arrive(request, fate, deliver))
            if fate == "twice":
                self._later(self._journey() + self._journey(), lambda: self._arrive(request, fate, _nobody))

    def _draw(self) -> Fate:
        unit = self._random.random()
        fate: Fate = "delivered"
        if not self.up:
            fate = "refused"
        else:
            for name in ("refused", "request_lost", "answer_lost", "twice", "busy", "throttled"):
                unit -= getattr(self.mishaps, name)
                if unit < 0:
                    fate = name
                    break
        self.fates[fate] = self.fates.get(fate, 0) + 1
        return fate

    def _journey(self) -> float:
        longest = self.mishaps.longest if self._random.random() < self.mishaps.slow else _QUICK
        return self._random.random() * longest

    def _arrive(self, request: Request, fate: Fate, deliver: Callable[[Answer], None]) -> None:
        if not self.up:
            deliver(_broken("reset", "wait", sent=True))
            return
        if self.gone is not None:
            deliver(_reply(self.gone, b'{"detail":"not found"}'))
            return
        headers = {name.lower(): value for name, value in (*request.headers, *request.own_headers)}
        arrived = CoreRequest(request.method, request.path, headers, b"".join(request.body))

        def answer(given: CoreAnswer) -> None:
            if fate == "answer_lost":
                self._later(self._journey(), lambda: deliver(_broken("reset", "body", sent=True)))
            else:
                reply = Reply(given.status, dict(given.headers), given.body)
                self._later(self._journey(), lambda: deliver(reply))

        outcome = self.core.handle(arrived, self._runtime.clock.now())
        if isinstance(outcome, Hold):
            entry = (outcome, answer)
            self._held.append(entry)
            self._runtime.timers.call_at(outcome.deadline, lambda: self._resume(entry))
        elif isinstance(outcome, CoreAnswer):  # our client asks for no streams
            answer(outcome)
        self._wake(self.core.take_decided())
        self._later(self._random.random() * _JOB_TIME, self._work)

    def _wake(self, decided: set[str]) -> None:
        for entry in [entry for entry in self._held if entry[0].request_id in decided]:
            self._resume(entry)

    def _resume(self, entry: tuple[Hold, Callable[[CoreAnswer], object]]) -> None:
        if entry not in self._held:
            return
        outcome = self.core.resume(entry[0], self._runtime.clock.now())
        if outcome is not None:
            self._held.remove(entry)
            entry[1](outcome)

    # ------------------------------------------------------------ the server's workers

    def _work(self) -> None:
        """Do one job of each kind, and come back while there are more."""
        busy = False
        kinds: tuple[JobKind, ...] = ("train", "sample")
        for kind in kinds:
            job = self.core.next_job(kind)
            if job is None:
                continue
            busy = True
            self._wake(self.core.finish(job, job.run(), self._runtime.clock.now()))
        if busy:
            self._later(self._random.random() * _JOB_TIME, self._work)

    def _later(self, delay: float, callback: Callable[[], object]) -> None:
        self._runtime.timers.call_at(self._runtime.clock.now() + delay, callback)


class SimulatedTransport:
    """One lane's end of the simulated network; implements the transport port."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self._network = network
        self._tickets: set[SimulatedTicket] = set()

    @property
    def capacity(self) -> int:
        """As many as anybody wants."""
        return sys.maxsize

    def send(self, request: Request, on_answer: Callable[[Answer], None]) -> SimulatedTicket:
        """Start one attempt."""
        ticket = SimulatedTicket(self._tickets, on_answer)
        self._network.carry(request, ticket.settle)
        self._network._later(request.timeout, lambda: ticket.settle(_broken("timeout", "wait", sent=True)))
        return ticket

    def close(self) -> None:
        """Drop everything under way."""
        for ticket in list(self._tickets):
            ticket.cancel()

    def __repr__(self) -> str:
        return f"<SimulatedTransport {len(self._tickets)} under way>"


class SimulatedTicket:
    """A request under way."""

    def __init__(self, tickets: set[SimulatedTicket], on_answer: Callable[[Answer], None]) -> None:
        self._tickets = tickets
        self._on_answer = on_answer
        tickets.add(self)

    @property
    def seen(self) -> bool:
        """Whether the server may have seen any of it: here it is on its way at once."""
        return True

    def settle(self, answer: Answer) -> None:
        """Give the answer, unless another came first or the request was given up."""
        if self in self._tickets:
            self._tickets.discard(self)
            self._on_answer(answer)

    def cancel(self) -> None:
        """Give the request up."""
        self._tickets.discard(self)

    def reject(self) -> None:
        """Do nothing: here no answer comes in place of another."""


def _nobody(_: Answer) -> None:
    """Take the answer to a duplicate: nobody waits for it."""


def _reply(status: int, body: bytes) -> Reply:
    return Reply(status, {"content-type": "application/json"}, body)


def _broken(
    kind: Literal["connect", "reset", "timeout"], phase: Literal["connect", "wait", "body"], *, sent: bool
) -> Broken:
    return Broken(kind, phase, "simulated", sent)
