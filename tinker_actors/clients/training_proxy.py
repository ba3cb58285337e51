"""The proxy of a training client."""

from __future__ import annotations

from tinker_actors.clients.proxy import HandleProxy, returning, submitting
from tinker_actors.clients.training import TrainingClient


class TrainingProxy(HandleProxy[TrainingClient]):
    """Drives a training client as pykka drives an actor; see `TrainingClient` for what its methods do."""

    forward = submitting(TrainingClient.forward)
    forward_backward = submitting(TrainingClient.forward_backward)
    optim_step = submitting(TrainingClient.optim_step)
    step = submitting(TrainingClient.step)
    save_state = submitting(TrainingClient.save_state)
    load_state = submitting(TrainingClient.load_state)
    load_state_with_optimizer = submitting(TrainingClient.load_state_with_optimizer)
    save_weights_for_sampler = submitting(TrainingClient.save_weights_for_sampler)
    save_weights_and_get_sampling_client = returning(TrainingClient.save_weights_and_get_sampling_client)
    create_sampling_client = returning(TrainingClient.create_sampling_client)
    policy = returning(TrainingClient.policy)
    get_info = returning(TrainingClient.get_info)
    barrier = returning(TrainingClient.barrier)
    acknowledge_failure = returning(TrainingClient.acknowledge_failure)
