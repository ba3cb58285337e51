"""Handles: a sampler as text, for processes that can't or shouldn't unpickle.

The text has the shape that the official SDK writes (wire protocol 9.1), so either side may be the other's. It holds no
credential, and is read as what it is: something from outside.
"""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec

from tinker_actors.actors.session.messages import SessionSettings
from tinker_actors.clients.attachment import SamplerState, copy_of
from tinker_actors.clients.sampling import SamplingClient
from tinker_actors.clients.trust import config_for
from tinker_actors.config import Config, resolve
from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.wire_json import UNREADABLE
from tinker_actors.secrets import secret
from tinker_actors.types.addresses import place, same_server

# A handle is some hundred characters long, with the server's settings a few thousand.
_LONGEST = 64 * 1024

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+\Z")]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


def handle_text(state: SamplerState, base_model: str) -> str:
    """Return a sampler as text: base64url of a JSON object with its ids, the address and the server's settings.

    Args:
        state: the sampler.
        base_model: name of the model behind it; the official SDK can't do without.
    """
    holder = {
        "base_url": state.config.base_url,
        "default_headers_overrides": {},
        "client_config": msgspec.json.decode(state.said) if state.said else {},
        "client_dynamic_config": {},
        "api_key": None,
    }
    handle = {
        "session_id": state.session_id,
        "sampling_session_id": state.sampling_session_id,
        "holder": holder,
        "base_model": base_model,
        "record_stability_info": False,
    }
    return base64.urlsafe_b64encode(msgspec.json.encode(handle)).decode("ascii")


def sampler_from_handle(
    handle: str, *, base_url: str | None = None, api_key: str | None = None, config: Config | None = None
) -> SamplingClient:
    """Return a copy of the sampler that a handle names, ours or the official SDK's.

    A handle may come from anywhere, and a key must not go to an address just because it stood in a handle. So the
    receiving side says which server it trusts: with `base_url`, that address is used, whatever the handle says. Without
    it, the handle's own address is used if it is that of `TINKER_BASE_URL` (of the hosted service, where that is not
    set), or on this machine; in the last case without any credential but one that is given here.

    Args:
        handle: the text.
        base_url: the server.
        api_key: the credential; default: `TINKER_API_KEY`, as said above.
        config: everything else; its `base_url` counts like the argument.

    Raises:
        InvalidInputError: the text is no handle, or holds a credential.
        ConfigError: the handle's server is none of the trusted ones, or address and key don't fit together.
    """
    api_key = secret(api_key)
    state, address = _read(handle)
    trusted = base_url or (config.base_url if config is not None else None)
    if trusted is not None:
        return _arrive(state, resolve(config, base_url=trusted, api_key=api_key))
    return _arrive(state, config_for(address, "handle", config=config, key=api_key))


def sampler_on(config: Config, handle: str) -> SamplingClient:
    """Return a copy of the sampler that a handle names, on a server that is known already.

    Args:
        config: resolved, with the server's address and key.
        handle: the text; it must name the same server.

    Raises:
        InvalidInputError: the text is no handle, or names another server.
    """
    state, address = _read(handle)
    if not same_server(address, str(config.base_url)):
        raise InvalidInputError(f"The handle names the server {address[:200]!r}; this client talks to another one.")
    return _arrive(state, config)


def _arrive(state: SamplerState, config: Config) -> SamplingClient:
    return copy_of(state, config, SessionSettings(session_id=state.session_id))


class _Holder(msgspec.Struct):
    """How to reach the server. What else is in it is not believed: the server is asked again."""

    base_url: _Text
    api_key: None = None


class _Handle(msgspec.Struct):
    """A handle's content."""

    session_id: _Id
    sampling_session_id: _Id
    holder: _Holder
    base_model: _Text | None = None


def _read(handle: object) -> tuple[SamplerState, str]:
    """Return what a handle says, and the address in it."""
    if not isinstance(handle, str) or not handle or len(handle) > _LONGEST:
        raise InvalidInputError(f"A sampler handle is a text of 1 to {_LONGEST} characters.")
    try:
        # In one go: there may be somebody's credential in it, which a crash report with locals must not show.
        read = msgspec.json.decode(
            base64.b64decode(handle + "=" * (-len(handle) % 4), altchars=b"-_", validate=True), type=_Handle
        )
        host = place(read.holder.base_url)[1]
    except UNREADABLE as error:  # base64's and the URL's too; msgspec's tell the place, not the value
        raise InvalidInputError(f"This is no sampler handle: {error}.") from None
    if not host:
        raise InvalidInputError("This is no sampler handle: the server's address has no host.")
    state = SamplerState(read.session_id, read.sampling_session_id, Config(), read.base_model)
    return state, read.holder.base_url
