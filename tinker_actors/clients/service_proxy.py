"""The proxy of a service client."""

from __future__ import annotations

from tinker_actors.clients.proxy import ActorProxy, returning
from tinker_actors.clients.service import ServiceClient
from tinker_actors.runtime.futures import APIFuture, resolved
from tinker_actors.runtime.hub import EventHub


class ServiceProxy(ActorProxy[ServiceClient]):
    """Drives a service client as pykka drives an actor; see `ServiceClient` for what its methods do.

    The futures of new clients are done when the server has made what they stand for.
    """

    create_lora_training_client = returning(ServiceClient.create_lora_training_client)
    create_training_client_from_state = returning(ServiceClient.create_training_client_from_state)
    create_training_client_from_state_with_optimizer = returning(
        ServiceClient.create_training_client_from_state_with_optimizer
    )
    create_sampling_client = returning(ServiceClient.create_sampling_client)
    create_sampling_client_from_handle = returning(ServiceClient.create_sampling_client_from_handle)
    get_server_capabilities = returning(ServiceClient.get_server_capabilities)
    tree = returning(ServiceClient.tree)
    close = returning(ServiceClient.close)

    @property
    def events(self) -> APIFuture[EventHub]:
        """A future of the hub to subscribe at."""
        return resolved(self._client.events, "events")

    @property
    def closed(self) -> APIFuture[bool]:
        """A future of whether nothing can be called any more."""
        return resolved(self._client.closed, "closed")
