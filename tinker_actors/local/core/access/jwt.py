"""JWT: tokens that say for whom they speak and until when, signed with HMAC-SHA256 (RFC 7519, `HS256`).

Only what this server makes is read again, so there is one algorithm, and what a token says about itself is not asked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import msgspec

from tinker_actors.protocol.codec import wire_json

ISSUER = "passport-local"
ORGANIZATION = "local"

_HEADER = {"alg": "HS256", "typ": "JWT"}
_USER = "tml:user:"
_PARTS = 3


def claims_for(owner: str, issued: float, seconds: float) -> dict[str, Any]:
    """Return what a token says (wire protocol 1.3).

    Args:
        owner: for whom it speaks.
        issued: when it is made, in seconds since 1970.
        seconds: how long it is good.
    """
    return {
        "iss": ISSUER,
        "sub": user_urn(owner),
        "org_id": ORGANIZATION,
        "email": email_of(owner),
        "iat": int(issued),
        "exp": int(issued + seconds),
    }


def user_urn(owner: str) -> str:
    """Return the name of an owner on the wire."""
    return f"{_USER}{owner}"


def email_of(owner: str) -> str:
    """Return an address for an owner; no mail ever goes there."""
    return f"{owner}@localhost"


def owner_of(claims: dict[str, Any]) -> str:
    """Return the owner that claims speak for."""
    return str(claims["sub"]).removeprefix(_USER)


def signed(claims: dict[str, Any], secret: bytes) -> str:
    """Return the token for some claims."""
    content = f"{_text(wire_json.encode(_HEADER))}.{_text(wire_json.encode(claims))}"
    return f"{content}.{_text(_signature(content, secret))}"


def looks_like_one(credential: str) -> bool:
    """Return whether a credential is meant to be a token: its header is a JSON object in base64."""
    return credential.startswith("eyJ")


def verified(token: str, secret: bytes, now: float) -> dict[str, Any]:
    """Return a token's claims.

    Args:
        token: the token.
        secret: what it must be signed with.
        now: the time, in seconds since 1970.

    Raises:
        ValueError: it is not one of ours, or has expired; the text is fit for a header.
    """
    content, _, signature = token.rpartition(".")
    if token.count(".") != _PARTS - 1 or not hmac.compare_digest(_bytes(signature), _signature(content, secret)):
        raise ValueError("its signature is not this server's")
    claims = msgspec.json.decode(_bytes(content.partition(".")[2]), type=dict[str, Any])
    if now >= claims["exp"]:
        raise ValueError("it has expired")
    return claims


def _signature(content: str, secret: bytes) -> bytes:
    return hmac.new(secret, content.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii") + b"==", altchars=b"-_", validate=False)
    except (binascii.Error, UnicodeEncodeError):
        return b""
