"""The tree, for people: what runs in a service and how each part says it is doing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec
import pykka

from tinker_actors.actors.lane.keeper import lane_states
from tinker_actors.actors.service import Service
from tinker_actors.actors.supervisor import Children
from tinker_actors.runtime.actor import Describe

_PATIENCE = 1.0


class Node(msgspec.Struct, frozen=True):
    """One actor and its children.

    Attributes:
        name: what it is.
        state: its own one-line description, or that it does not answer.
        children: the actors it looks after.
    """

    name: str
    state: str
    children: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        lines = [f"{indent}{self.name}: {self.state}"]
        for child in self.children:
            lines += child._lines(indent + "  ")
        return lines


def read_tree(service: Service) -> Node:
    """Ask every actor of a service how it is; those that do not answer within a second or two are said not to."""
    children = answer_of(service.supervisor.ask(Children(), block=False), {})
    lanes = lane_states(service.lanes)
    refs = (service.supervisor, service.lanes.keeper, *children.values())
    supervisor, keeper, *states = answers_of([*map(_describe, refs), *lanes.values()])
    nodes = tuple(map(Node, (*children, *(f"{name} lane" for name in lanes)), states))
    return Node("supervisor", supervisor, (Node("lanes", keeper, nodes[len(children) :]), *nodes[: len(children)]))


def _describe(ref: pykka.ActorRef[Any]) -> pykka.Future[Any]:
    return ref.ask(Describe(), block=False)


def answer_of(future: pykka.Future[Any], otherwise: Any = "does not answer") -> Any:
    """Return an actor's answer, or something else where it does not answer within a second."""
    return answers_of([future], otherwise)[0]


def answers_of(futures: Iterable[pykka.Future[Any]], otherwise: Any = "does not answer") -> list[Any]:
    """Return the answers of many actors, or something else for each that does not answer within a second from now."""
    ends = time.monotonic() + _PATIENCE
    answers = []
    for future in futures:
        try:
            answers.append(future.get(timeout=max(0.0, ends - time.monotonic())))
        except pykka.Timeout:
            answers.append(otherwise)
        except pykka.ActorDeadError:
            answers.append("ended" if isinstance(otherwise, str) else otherwise)
    return answers
