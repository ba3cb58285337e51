"""The proxy of a service client."""

from __future__ import annotations

from typing import Final

from tinker_actors.clients.proxy import ActorProxy, returning
from tinker_actors.clients.service import ServiceClient
from tinker_actors.runtime.futures import APIFuture, resolved
from tinker_actors.runtime.hub import EventHub


class ServiceProxy(ActorProxy[ServiceClient]):
    """Drives a service client as pykka drives an actor; see `ServiceClient` for what its methods do.

    The futures of new clients are done when the server has made what they stand for.
    """

    create_lora_training_client: Final = returning(ServiceClient.create_lora_training_client)
    create_training_client_from_state: Final = returning(ServiceClient.create_training_client_from_state)
    create_training_client_from_state_with_optimizer: Final = returning(
        ServiceClient.create_training_client_from_state_with_optimizer
    )
    create_sampling_client: Final = returning(ServiceClient.create_sampling_client)
    create_sampling_client_from_handle: Final = returning(ServiceClient.create_sampling_client_from_handle)
    get_server_capabilities: Final = returning(ServiceClient.get_server_capabilities)
    tree: Final = returning(ServiceClient.tree)
    close: Final = returning(ServiceClient.close)

    @property
    def events(self) -> APIFuture[EventHub]:
        """A future of the hub to subscribe at."""
        return resolved(self._client.events, "events")

    @property
    def closed(self) -> APIFuture[bool]:
        """A future of whether nothing can be called any more."""
        return resolved(self._client.closed, "closed")
