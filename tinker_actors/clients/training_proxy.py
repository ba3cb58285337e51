"""The proxy of a training client."""

from __future__ import annotations

from typing import Final

from tinker_actors.clients.proxy import HandleProxy, returning, submitting
from tinker_actors.clients.training import TrainingClient


class TrainingProxy(HandleProxy[TrainingClient]):
    """Drives a training client as pykka drives an actor; see `TrainingClient` for what its methods do."""

    forward: Final = submitting(TrainingClient.forward)
    forward_backward: Final = submitting(TrainingClient.forward_backward)
    optim_step: Final = submitting(TrainingClient.optim_step)
    step: Final = submitting(TrainingClient.step)
    save_state: Final = submitting(TrainingClient.save_state)
    load_state: Final = submitting(TrainingClient.load_state)
    load_state_with_optimizer: Final = submitting(TrainingClient.load_state_with_optimizer)
    save_weights_for_sampler: Final = submitting(TrainingClient.save_weights_for_sampler)
    save_weights_and_get_sampling_client: Final = returning(TrainingClient.save_weights_and_get_sampling_client)
    create_sampling_client: Final = returning(TrainingClient.create_sampling_client)
    policy: Final = returning(TrainingClient.policy)
    get_info: Final = returning(TrainingClient.get_info)
    barrier: Final = returning(TrainingClient.barrier)
    acknowledge_failure: Final = returning(TrainingClient.acknowledge_failure)
