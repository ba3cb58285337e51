"""The tree, for people: what runs in a service and how each part says it is doing."""

from __future__ import annotations

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
    """Ask every actor of a service how it is; one that does not answer within a second is said not to."""
    children = answer_of(service.supervisor.ask(Children(), block=False), {})
    asked = {name: _describe(ref) for name, ref in children.items()}
    lanes = lane_states(service.lanes)
    lane_nodes = tuple(Node(f"{name} lane", answer_of(state)) for name, state in lanes.items())
    nodes = tuple(Node(name, answer_of(state)) for name, state in asked.items())
    keeper = Node("lanes", answer_of(_describe(service.lanes.keeper)), lane_nodes)
    return Node("supervisor", answer_of(_describe(service.supervisor)), (keeper, *nodes))


def _describe(ref: pykka.ActorRef[Any]) -> pykka.Future[Any]:
    return ref.ask(Describe(), block=False)


def answer_of(future: pykka.Future[Any], otherwise: Any = "does not answer") -> Any:
    """Return an actor's answer, or something else where it does not answer within a second."""
    try:
        return future.get(timeout=_PATIENCE)
    except pykka.Timeout:
        return otherwise
    except pykka.ActorDeadError:
        return "ended" if isinstance(otherwise, str) else otherwise
