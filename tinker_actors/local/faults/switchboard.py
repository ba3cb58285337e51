"""Switchboard: the rules in force, and how often each has matched and struck."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from tinker_actors.local.faults.deciding import strikes
from tinker_actors.local.faults.rules import POLL, Rule

_PARAMETER = re.compile(r"\{[^}]*\}")


class Count(msgspec.Struct):
    """How often a rule has been met.

    Attributes:
        matched: requests that matched it.
        struck: those of them that it struck.
    """

    matched: int = 0
    struck: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What happens to one request.

    Attributes:
        asides: rules whose faults happen beside it, in the order in which they were added.
        final: the rule that answers it or spoils its answer, or None.
    """

    asides: tuple[Rule, ...] = ()
    final: Rule | None = None


class _Entry:
    __slots__ = ("count", "from_step", "rule")

    def __init__(self, rule: Rule, steps: int) -> None:
        self.rule = rule
        self.count = Count()
        self.from_step = steps + rule.after_step


class Switchboard:
    """Rules by name. For one thread.

    Args:
        endpoints: the paths below `/api/v1/` that exist, `{}` for an id; a rule must concern one of them.
        seed: what chance depends on, besides the rule and its count.
    """

    def __init__(self, endpoints: Iterable[str], seed: int = 0) -> None:
        self.seed = seed
        self._endpoints = sorted({_PARAMETER.sub("id", endpoint) for endpoint in endpoints})
        self._entries: dict[str, _Entry] = {}

    def add(self, rule: Rule, steps: int = 0) -> Rule:
        """Put a rule in force and return it; one without a name gets one.

        Args:
            rule: the rule.
            steps: optimizer steps applied so far.

        Raises:
            ValueError: its name is taken, it can't concern any request.
        """
        reached = [name for name in self._endpoints if fnmatchcase(name, rule.endpoint)]
        if not reached:
            raise ValueError(f"There is no endpoint {rule.endpoint!r}. There are: {', '.join(self._endpoints)}.")
        if (rule.info.polls_only or rule.of is not None) and POLL not in reached:
            what = rule.kind if rule.info.polls_only else "of="
            raise ValueError(f"{what} is about polls: use {POLL!r} as endpoint, and of={rule.endpoint!r}.")
        if rule.name in self._entries:
            raise ValueError(f"There is a rule {rule.name!r} already.")
        named = rule if rule.name else msgspec.structs.replace(rule, name=self._free_name(rule))
        self._entries[named.name] = _Entry(named, steps)
        return named

    def remove(self, name: str) -> bool:
        """Take a rule out of force; return whether it was there."""
        return self._entries.pop(name, None) is not None

    def clear(self) -> None:
        """Take all rules out of force; the counts go with them."""
        self._entries.clear()

    def rules(self) -> list[Rule]:
        """Return the rules in force, in the order in which they were added."""
        return [entry.rule for entry in self._entries.values()]

    def counts(self) -> dict[str, Count]:
        """Return how often each rule has been met, by name."""
        return {name: msgspec.structs.replace(entry.count) for name, entry in self._entries.items()}

    def concerns(self, endpoint: str) -> bool:
        """Return whether any rule is about an endpoint."""
        return any(fnmatchcase(endpoint, entry.rule.endpoint) for entry in self._entries.values())

    def decide(self, endpoint: str, of: str | None, steps: int) -> Verdict:
        """Count a request, and return what happens to it.

        Of several rules that would answer it or spoil its answer, the one added first does; the others have not struck.

        Args:
            endpoint: its path below `/api/v1/`.
            of: for a poll: the operation whose result it asks for.
            steps: optimizer steps applied so far.
        """
        asides: list[Rule] = []
        final: Rule | None = None
        for entry in self._entries.values():
            rule, count = entry.rule, entry.count
            if not _matches(rule, endpoint, of) or steps < entry.from_step:
                continue
            count.matched += 1
            aside = rule.info.place == "aside"
            if (not aside and final is not None) or not strikes(rule, self.seed, count.matched, count.struck):
                continue
            count.struck += 1
            if aside:
                asides.append(rule)
            else:
                final = rule
        return Verdict(tuple(asides), final)

    def _free_name(self, rule: Rule) -> str:
        plain = f"{rule.endpoint}:{rule.kind}"
        if plain not in self._entries:
            return plain
        return next(name for n in itertools.count(2) if (name := f"{plain}#{n}") not in self._entries)


def _matches(rule: Rule, endpoint: str, of: str | None) -> bool:
    if rule.info.polls_only and endpoint != POLL:
        return False
    return (rule.of is None or rule.of == of) and fnmatchcase(endpoint, rule.endpoint)
