"""Access: who may call, and as whom.

Keys are kept as SHA-256 digests, so that no dump, log or repr of the server holds one. A token (JWT) is made for a key
and carries the owner's name, signed; it is good for a while, whatever becomes of the key.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.access import jwt
from tinker_actors.local.core.access.caller import LOCAL_OWNER
from tinker_actors.local.core.requests.messages import RefusedError

KEY_HEADER = "x-api-key"
"""The one place where a credential is looked for (wire protocol 1.3)."""

_SECRET_BYTES = 32


class Access:
    """The keys of a server, and its secret.

    Attributes:
        jwt: whether clients are asked to change their key for a token.
        secret: signs tokens and links; both end with it.

    Args:
        api_keys: key -> owner; none for a server that asks nobody.
        jwt: see above.
        secret: see above; None draws one.

    Raises:
        ConfigError: a key or an owner is empty.
    """

    def __init__(
        self, api_keys: Mapping[str, str] | None = None, *, jwt: bool = False, secret: bytes | None = None
    ) -> None:
        keys = dict(api_keys or {})
        if not all(keys) or not all(keys.values()):
            raise ConfigError("An API key needs a key and an owner, neither of them empty.")
        self.jwt = jwt
        self.secret = secrets.token_bytes(_SECRET_BYTES) if secret is None else secret
        self._owners = {_digest(key): owner for key, owner in keys.items()}
        self._numbers = {digest: number for number, digest in enumerate(self._owners, 1)}

    def __repr__(self) -> str:
        return f"<Access: {len(self._owners)} keys>"

    @property
    def guarded(self) -> bool:
        """Whether a key is asked for. Stays so when the last key is revoked."""
        return bool(self._numbers)

    def owner_of_key(self, key: str) -> str:
        """Return whose key it is.

        Raises:
            RefusedError: 401, nobody's.
        """
        if not self.guarded:
            return LOCAL_OWNER
        owner = self._owners.get(_digest(key))
        if owner is None:
            said = "This API key is not known here." if key else f"An API key is needed, in the header {KEY_HEADER}."
            raise RefusedError(401, said, ("www-authenticate", 'ApiKey realm="tinker"'))
        return owner

    def owner_of(self, credential: str, wall: float) -> str:
        """Return for whom a credential speaks, a key or a token.

        Args:
            credential: what was sent; empty for nothing.
            wall: the time, in seconds since 1970.

        Raises:
            RefusedError: 401, for nobody.
        """
        if not (self.jwt and jwt.looks_like_one(credential)):
            return self.owner_of_key(credential)
        try:
            return jwt.owner_of(jwt.verified(credential, self.secret, wall))
        except ValueError as error:
            challenge = f'Bearer error="invalid_token", error_description="{error}"'
            raise RefusedError(401, f"The token is not valid: {error}.", ("www-authenticate", challenge)) from error

    def number_of(self, key: str) -> int | None:
        """Return a key's place among the keys given, from 1; None for one that is not among them."""
        return self._numbers.get(_digest(key))

    def revoke(self, key: str) -> bool:
        """Make a key nobody's until the server is started again. Returns whether it was somebody's."""
        return self._owners.pop(_digest(key), None) is not None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
