"""Identity: what each variant must be, by what it says of itself and by what the server saw of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

OFFICIAL_VERSION = "0.38.0"


class Identity(NamedTuple):
    """What a variant must be.

    Attributes:
        client: how the name of its class begins.
        transport: what carries its bytes.
        agent: what its user agent contains.
        results: the form in which it asks for results; None if either will do.
        version: the version it must have; empty if any.
    """

    client: str
    transport: str
    agent: str
    results: str | None
    version: str = ""


IDENTITIES: dict[str, Identity] = {
    "ours": Identity("tinker_actors.", "HttpTransport", "tinker-actors", None),
    "official": Identity("tinker.", "pyqwest", "AsyncTinker", "protobuf", OFFICIAL_VERSION),
    "urllib3_threads": Identity("urllib3.", "urllib3", "urllib3", "json"),
    "raw_sockets": Identity("benchmarks.variants.raw_sockets.", "sockets and epoll", "raw-sockets", "json"),
    "raw_bytes": Identity("benchmarks.variants.raw_bytes.", "sockets and epoll", "raw-bytes", "json"),
}

NAMES: dict[str, str] = {
    "ours": "ours",
    "official": f"tinker {OFFICIAL_VERSION}",
    "urllib3_threads": "urllib3 in threads",
    "raw_sockets": "raw sockets",
    "raw_bytes": "raw sockets, prebuilt bytes",
}
"""How variants are called in tables and pictures."""


def wrong(variant: str, result: Mapping[str, Any], *, samples: int, completions: bool) -> str:
    """Return what is wrong with a run, or an empty string.

    Args:
        variant: what it should have been.
        result: what `benchmarks.variants.run` gave.
        samples: how many samples it should have made, warm-up included.
        completions: whether it should have heard of results by `retrieve_futures`.
    """
    server, said, identity = result["server"], result["described"], IDENTITIES[variant]
    requests, forms = server["requests"], server["results"]
    right = result["figures"]["right"]
    checks: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: right == samples, f"{right} of {samples} samples were right"),
        (lambda: requests.get("asample") == samples, f"the server saw {requests} for {samples} samples"),
        (lambda: requests.get("retrieve_future", 0) >= samples, f"the server saw {requests} for {samples} samples"),
        (lambda: not server["faults"], f"the server found faults: {server['faults']}"),
        (lambda: said["client"].startswith(identity.client), f"it is {said}"),
        (lambda: said["transport"] == identity.transport, f"it is {said}"),
        (lambda: said["version"] == (identity.version or said["version"]), f"it is {said}"),
        (
            lambda: bool(server["user_agents"]) and all(identity.agent in agent for agent in server["user_agents"]),
            f"the server saw the user agents {server['user_agents']}",
        ),
        (
            lambda: identity.results is None or not any(n for form, n in forms.items() if form != identity.results),
            f"it asked for results as {forms}",
        ),
        (
            lambda: completions == (requests.get("retrieve_futures", 0) > 0),
            f"it {'did not ask' if completions else 'asked'} for completions: {requests}",
        ),
    )
    return "; ".join(dict.fromkeys(text for check, text in checks if not check()))
