"""Control: the switchboard of a server in another process, from Python."""

from __future__ import annotations

import http.client
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from tinker_actors.errors import ConfigError
from tinker_actors.local.faults.rules import Rule, make_rule
from tinker_actors.local.faults.switchboard import Count

T = TypeVar("T")

ADMIN_PATH = "/admin/faults"
"""GET lists rules and counts, POST adds a rule, DELETE clears them, DELETE of a name below it removes one."""

TOKEN_HEADER = "x-admin-token"  # noqa: S105 - the header's name
"""The header that carries the token."""

_OK = 200
_TIMEOUT = 60.0


class _Listing(msgspec.Struct):
    seed: int
    rules: list[Rule]
    counts: dict[str, Count]


class _Refusal(msgspec.Struct):
    detail: str


class FaultControl:
    """Makes a server misbehave, and behave again. Each call is one request on a connection of its own; thread-safe.

    Args:
        url: the server's base URL.
        token: what its admin endpoint asks for.
    """

    def __init__(self, url: str, token: str) -> None:
        self._netloc = urlsplit(url).netloc
        self._token = token

    def add(self, endpoint: str = "*", kind: str | None = None, **fields: Any) -> Rule:
        """Put a rule in force, and return it with its name.

        Args:
            endpoint: path below `/api/v1/`; `*` stands for anything.
            kind: what goes wrong; may be left out where `status=` is given.
            **fields: see `Rule`, which tells all kinds too.

        Raises:
            ConfigError: this is not a rule, or it can't concern any request.
        """
        try:
            rule = make_rule({"endpoint": endpoint, "kind": kind, **fields})
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return self._ask("POST", "", Rule, msgspec.json.encode(rule))

    def remove(self, name: str) -> None:
        """Take one rule out of force.

        Raises:
            ConfigError: there is none of this name.
        """
        self._ask("DELETE", f"/{quote(name, safe='')}", dict[str, Any])

    def clear(self) -> None:
        """Take all rules out of force; their counts go with them. Harm that is done stays."""
        self._ask("DELETE", "", dict[str, Any])

    def list(self) -> list[Rule]:
        """Return the rules in force, in the order in which they were added."""
        return self._ask("GET", "", _Listing).rules

    def counts(self) -> dict[str, Count]:
        """Return how often each rule has been met, by its name."""
        return self._ask("GET", "", _Listing).counts

    @property
    def seed(self) -> int:
        """What chance depends on; set when the server is started."""
        return self._ask("GET", "", _Listing).seed

    def _ask(self, method: str, below: str, kind: type[T], body: bytes | None = None) -> T:
        connection = http.client.HTTPConnection(self._netloc, timeout=_TIMEOUT)
        try:
            headers = {TOKEN_HEADER: self._token, "content-type": "application/json"}
            connection.request(method, f"{ADMIN_PATH}{below}", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status != _OK:
            raise ConfigError(msgspec.json.decode(said, type=_Refusal).detail)
        return msgspec.json.decode(said, type=kind)
