"""The proxies of a policy and of a pinned one."""

from __future__ import annotations

from typing import Final

from tinker_actors.clients.policy import PinnedPolicy, Policy
from tinker_actors.clients.proxy import returning, submitting
from tinker_actors.clients.source_proxy import SourceProxy
from tinker_actors.runtime.futures import APIFuture, resolved


class PolicyProxy(SourceProxy[Policy]):
    """Drives a policy as pykka drives an actor; see `Policy`. It has no actor of its own."""

    get_base_model: Final = returning(Policy.get_base_model)
    publish: Final = submitting(Policy.publish)
    pin: Final = returning(Policy.pin)

    @property
    def name(self) -> APIFuture[str]:
        """A future of the policy's name."""
        return resolved(self._client.name, "name")

    @property
    def max_lag(self) -> APIFuture[int | None]:
        """A future of how many steps the newest version may be behind."""
        return resolved(self._client.max_lag, "max_lag")

    @property
    def weights_version(self) -> APIFuture[int | None]:
        """A future of the newest version; None before the first. Does not wait for one."""
        return resolved(self._client.weights_version, "weights_version")


class PinnedPolicyProxy(SourceProxy[PinnedPolicy]):
    """Drives a pinned policy as pykka drives an actor; see `PinnedPolicy`. It has no actor of its own."""

    get_base_model: Final = returning(PinnedPolicy.get_base_model)

    @property
    def weights_version(self) -> APIFuture[int | None]:
        """A future of the version; None while there is none, and behind the pin's block. Does not wait for one."""
        return resolved(self._client.weights_version, "weights_version")
