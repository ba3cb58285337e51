"""Signing: links that work without a key, for a while, for one thing only."""

from __future__ import annotations

import hashlib
import hmac


def signature_of(secret: bytes, *parts: str) -> str:
    """Return the signature (hex) over some texts, none of which may hold a newline."""
    return hmac.new(secret, "\n".join(("link", *parts)).encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def is_signed(secret: bytes, signature: str, *parts: str) -> bool:
    """Return whether a signature is the one over these texts."""
    expected = signature_of(secret, *parts)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))
