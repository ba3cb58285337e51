"""Setup: a server's application with the switchboard around it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from starlette.types import ASGIApp

from tinker_actors.errors import ConfigError
from tinker_actors.local.core import ServiceCore
from tinker_actors.local.core.requests.router import ROUTES
from tinker_actors.local.core.rest.routes import REST_ROUTES
from tinker_actors.local.faults.admin import Admin
from tinker_actors.local.faults.levers import Levers
from tinker_actors.local.faults.middleware import FaultyApp
from tinker_actors.local.faults.rules import parse_rule
from tinker_actors.local.faults.switchboard import Switchboard
from tinker_actors.local.http.app import App


class Faults(msgspec.Struct, frozen=True, eq=False):
    """How a server is to misbehave from its start, and who may change that.

    Attributes:
        board: the rules.
        admin_token: what the admin endpoint asks for; None if there is to be no such endpoint.
    """

    board: Switchboard
    admin_token: str | None

    def around(self, app: App, core: ServiceCore) -> ASGIApp:
        """Return the application with faults."""
        levers = Levers(core, app)
        admin = None if self.admin_token is None else Admin(self.board, levers, self.admin_token)
        return FaultyApp(app.asgi, self.board, levers, admin)


def make_faults(rules: Sequence[str], seed: int, *, admin: bool) -> Faults | None:
    """Return what was asked for on a command line; None if nothing was.

    Args:
        rules: rules as text, see `parse_rule`.
        seed: what chance depends on.
        admin: whether there is to be an admin endpoint; it gets a random token.

    Raises:
        ConfigError: a text is not a rule.
    """
    if not rules and not admin:
        return None
    board = Switchboard([*ROUTES, *(pattern for _, pattern, _ in REST_ROUTES)], seed)
    try:
        for text in rules:
            board.add(parse_rule(text))
    except ValueError as error:
        raise ConfigError(str(error), advice="A fault is ENDPOINT:KIND[:FIELD=VALUE...].") from error
    return Faults(board, secrets.token_urlsafe(24) if admin else None)
