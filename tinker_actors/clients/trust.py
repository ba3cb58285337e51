"""Trust: where this process's credentials may go when an address came from outside, in a handle or a pickle.

A key must not go to a server just because somebody wrote down its address. It goes to the server that this process is
configured for, and to one whose address carries a mark made with the same key: whoever made the mark knows the key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from urllib.parse import urlsplit

from tinker_actors.config import DEFAULT_BASE_URL, Config, resolve
from tinker_actors.errors import ConfigError
from tinker_actors.secrets import secret
from tinker_actors.types.addresses import base_url as checked_base_url
from tinker_actors.types.addresses import is_loopback, place, same_server
from tinker_actors.types.scalars import shown


def mark_of(address: str, key: str | None) -> str:
    """Return what shows, to those who have the same key, that an address was written down by one who has it.

    Args:
        address: a base URL.
        key: the key; without one there is no mark, and the result is empty.
    """
    if key is None:
        return ""
    return hmac.new(key.encode(), f"tinker-actors {place(address)}".encode(), hashlib.sha256).hexdigest()


def config_for(
    address: str, what: str, *, config: Config | None = None, key: str | None = None, mark: str = ""
) -> Config:
    """Return the settings for a server whose address came from outside, resolved.

    With this process's credentials where the address is that of `TINKER_BASE_URL` (of the hosted service, where that is
    not set) or carries their mark; without any but `key` on this machine.

    Args:
        address: the server.
        what: where the address stood, for messages.
        config: everything else.
        key: a credential that is given for this server.
        mark: what came with the address, see `mark_of`.

    Raises:
        ConfigError: the address is none of the trusted ones, or is none at all, or has no key.
    """
    address = checked_base_url(address)
    ours = os.environ.get("TINKER_BASE_URL") or DEFAULT_BASE_URL
    if same_server(address, ours):
        return resolve(config, base_url=ours, api_key=key)
    held = secret(key or os.environ.get("TINKER_API_KEY") or None)
    if held is not None and mark and hmac.compare_digest(mark.encode(), mark_of(address, held).encode()):
        return resolve(config, base_url=address, api_key=held)
    if held is None or is_loopback(urlsplit(address).hostname or ""):
        return resolve(config, base_url=address, api_key=key, env={})
    raise ConfigError(
        f"The {what} names the server {shown(address)}, which is neither the configured one nor on this machine, so "
        f"this process's key does not go there. Set TINKER_BASE_URL to it, or pass base_url= where that is possible."
    )
