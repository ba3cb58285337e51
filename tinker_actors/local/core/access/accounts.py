"""Accounts: keys changed for tokens, and what a key is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_actors.local.core.access import jwt
from tinker_actors.local.core.access.authentication import KEY_HEADER
from tinker_actors.local.core.requests.messages import Answer, CoreRequest, RefusedError, ok
from tinker_actors.types.accounts import AuthTokenResponse

if TYPE_CHECKING:
    from tinker_actors.local.core.state import CoreState


def exchange_token(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`POST auth/token`: a token for a key, where tokens are switched on. A token is not changed for another."""
    if not core.access.jwt:
        raise RefusedError(404, "This server does not use tokens; send the API key itself.")
    owner = core.access.owner_of_key(request.headers.get(KEY_HEADER, ""))
    claims = jwt.claims_for(owner, core.wall, core.limits.token_seconds)
    return ok(AuthTokenResponse(jwt.signed(claims, core.access.secret)))


def get_key(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`GET auth/apikey/me`: what the key is that was sent."""
    number = core.access.number_of(request.headers.get(KEY_HEADER, ""))
    owner = core.caller.name
    return ok(
        {
            "key_id": number or 0,
            "name": owner,
            "note": "Given when the server was started." if number else "This server asks for no key.",
            "details": {"org_details": {"name": jwt.ORGANIZATION}, "user_details": {"email": jwt.email_of(owner)}},
        }
    )


def delete_key(core: CoreState, request: CoreRequest, _now: float) -> Answer:
    """`DELETE auth/apikey/me`: the key that was sent is nobody's until the server is started again."""
    if not core.access.revoke(request.headers.get(KEY_HEADER, "")):
        raise RefusedError(400, "What was sent is no key of this server's, so there is nothing to delete.")
    return ok({"deleted": True})
