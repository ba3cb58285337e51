"""The platform: what the actors run on.

Sockets and threads here; a simulated network and a fake clock in `testing`. Nothing above this file knows which.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tinker_actors.config import Config, proxy_credentials
from tinker_actors.errors import ConfigError
from tinker_actors.loading import load
from tinker_actors.net.transport import Transport
from tinker_actors.protocol.endpoints import API_KEY
from tinker_actors.runtime.actor import Executor
from tinker_actors.runtime.clock import MonotonicClock, WallClock
from tinker_actors.runtime.delivery import Delivery, default_delivery
from tinker_actors.runtime.dispatcher import Dispatcher
from tinker_actors.runtime.lane_thread import LaneThread
from tinker_actors.runtime.selector_inbox import SelectorInbox
from tinker_actors.secrets import keep_out, secret
from tinker_actors.types.addresses import check_proxy, is_loopback

if TYPE_CHECKING:
    from tinker_actors.net.target import Target

PROTOCOL_VERSION = "0.15.0"
"""The dialect we speak: JSON both ways, as the official SDK of that version does. Sent as `sdk_version`."""


class Platform(Protocol):
    """Executors, delivery and clocks for the actors of a service."""

    control: Executor
    delivery: Delivery
    wall: WallClock

    def lane(self, name: str, config: Config) -> tuple[Executor, Callable[[], Transport]]:
        """Return what runs a new lane, and what makes its transport (to be called on the lane)."""
        ...


class SocketPlatform:
    """Real sockets, real threads: one dispatcher for all control actors of the process, a thread per lane."""

    def __init__(self, version: str) -> None:
        self.control: Executor = Dispatcher()
        self.delivery: Delivery = default_delivery
        self.wall: WallClock = time.time
        self._version = version

    def lane(self, name: str, config: Config) -> tuple[Executor, Callable[[], Transport]]:
        """Return a thread with a selector, and a maker of HTTP transports.

        Raises:
            ConfigError: certificates that can't be read, or a proxy of the environment that can't be used.
        """
        target = _target(config)
        clock = MonotonicClock()
        inbox = SelectorInbox(clock)

        def connect() -> Transport:
            return _transport(inbox, clock, config, target, self._version)

        return LaneThread(f"{name}-lane", inbox, clock, polite=name == "sample"), connect


def _target(config: Config) -> Target:
    """Return where connections go, by the configuration and what the environment says of proxies and certificates.

    Raises:
        ConfigError: certificates that can't be read, or a proxy of the environment that can't be used.
    """
    load("tinker_actors.net.target")
    from tinker_actors.net.target import Target  # noqa: PLC0415 - sockets load with the first lane

    url = config.url
    assert url.hostname is not None
    secure = url.scheme == "https"
    context, proxy = None, config.proxy
    if secure or (proxy is None and not is_loopback(url.hostname)):
        load("tinker_actors.net.proxies", "tinker_actors.net.tls_dialing")
        from tinker_actors.net import proxies, tls_dialing  # noqa: PLC0415 - so does TLS

        try:
            context = tls_dialing.default_ssl_context(config.cafile) if secure else None
        except OSError as error:
            named = config.cafile or "that SSL_CERT_FILE or REQUESTS_CA_BUNDLE names"
            raise ConfigError(f"The certificates {named} can't be read: {error}.") from error
        if proxy is None and not is_loopback(url.hostname):
            proxy = secret(proxies.proxy_from_environment(url.geturl()))
            if proxy is not None:
                check_proxy(proxy, url.scheme, "The proxy that the environment names")
                for held in proxy_credentials(proxy):
                    keep_out(held)
    return Target(
        scheme=url.scheme,
        host=url.hostname.replace("%25", "%", 1),  # the zone of an IPv6 address, as URLs spell it
        port=url.port or (443 if secure else 80),
        ssl_context=context,
        proxy=proxy,
        connect_timeout=config.connect_timeout,
    )


def _transport(inbox: SelectorInbox, clock: MonotonicClock, config: Config, target: Target, version: str) -> Transport:
    load("tinker_actors.net.http_transport")
    from tinker_actors.net.http_transport import HttpTransport, Limits  # noqa: PLC0415 - the parser, too

    return HttpTransport(
        inbox,
        clock,
        target,
        config.url.path,
        headers=_headers(config, version),
        limits=Limits(max_connections=config.max_connections),
    )


def _headers(config: Config, version: str) -> list[tuple[str, str]]:
    headers = [
        ("Accept", "application/json"),
        ("User-Agent", f"tinker-actors/{version} (Python {sys.version.partition(' ')[0]})"),
    ]
    if config.api_key is not None:
        headers.append((API_KEY, config.api_key))
    chosen = {name.lower() for name in config.default_headers}
    return [*(pair for pair in headers if pair[0].lower() not in chosen), *config.default_headers.items()]
