"""Checkpoints: the operations of a model that save and restore weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinker_actors.clients.performing import Performing, first
from tinker_actors.clients.twins import submits
from tinker_actors.protocol.replies.results import named_checkpoint
from tinker_actors.protocol.requests import operations
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types.training import LoadWeightsResponse, SaveWeightsForSamplerResponse, SaveWeightsResponse


class Checkpoints(Performing):
    """Base of the training client: what saves and restores. Thread-safe."""

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: Mapping[str, Any] | None = None,
    ) -> APIFuture[SaveWeightsResponse]:
        """Save weights and optimizer state as a training checkpoint.

        Args:
            name: its name, without slashes.
            ttl_seconds: its lifetime, 1 hour to 10 years; None keeps it for ever.
            overwrite: replace a checkpoint of that name; without it, saving under a name that is taken fails.
            user_metadata: stored with it.

        Returns:
            A future of its `tinker://` path.

        Raises:
            InvalidInputError: an argument that can't be right; nothing was sent.
            ClientClosedError: the service client was closed.
        """
        operation = operations.save_weights(name, ttl_seconds, overwrite, user_metadata)
        return self._perform(operation, first)

    @submits(save_state)
    def save_state_async(self) -> None:
        """Submit as `save_state` does, and return the future."""

    def load_state(self, path: str, weights_access_token: str | None = None) -> APIFuture[LoadWeightsResponse]:
        """Replace the weights by a checkpoint's; the optimizer begins anew.

        Args:
            path: the checkpoint's `tinker://` path.
            weights_access_token: for another account's checkpoint.

        Raises:
            InvalidInputError: `path` is no `tinker://` path.
            ClientClosedError: the service client was closed.
        """
        operation = operations.load_weights(path, optimizer=False, weights_access_token=weights_access_token)
        return self._perform(operation, first)

    @submits(load_state)
    def load_state_async(self) -> None:
        """Submit as `load_state` does, and return the future."""

    def load_state_with_optimizer(
        self, path: str, weights_access_token: str | None = None
    ) -> APIFuture[LoadWeightsResponse]:
        """Replace weights and optimizer state by a checkpoint's; see `load_state`."""
        operation = operations.load_weights(path, optimizer=True, weights_access_token=weights_access_token)
        return self._perform(operation, first)

    @submits(load_state_with_optimizer)
    def load_state_with_optimizer_async(self) -> None:
        """Submit as `load_state_with_optimizer` does, and return the future."""

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: Mapping[str, Any] | None = None
    ) -> APIFuture[SaveWeightsForSamplerResponse]:
        """Save the weights, without optimizer state, for sampling.

        Args:
            name: the checkpoint's name, without slashes.
            ttl_seconds: its lifetime, 1 hour to 10 years; None keeps it for ever.
            user_metadata: stored with it.

        Returns:
            A future of its `tinker://` path, for `create_sampling_client`.

        Raises:
            InvalidInputError: an argument that can't be right; nothing was sent.
            ClientClosedError: the service client was closed.
        """
        operation = operations.save_weights_for_sampler(name, ttl_seconds=ttl_seconds, user_metadata=user_metadata)
        return self._perform(operation, named_checkpoint)

    @submits(save_weights_for_sampler)
    def save_weights_for_sampler_async(self) -> None:
        """Submit as `save_weights_for_sampler` does, and return the future."""
