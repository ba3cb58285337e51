"""Policies: the weights of a model that is being trained, to be sampled from at any time by any thread.

Publishing saves the weights and has the registry swap one entry. Sampling reads that entry: one attribute read and one
dict lookup, no lock, no actor. Each sample keeps the version it began with; a version goes when its last sample or pin
ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tinker_actors.actors.messages import PublishPolicy, Retire, SamplerChanged, TrainingEnded
from tinker_actors.actors.model.published import TrainingState
from tinker_actors.actors.registry import PolicyEntry, sampler_keys
from tinker_actors.actors.service import Service
from tinker_actors.clients.handle import ended_error
from tinker_actors.clients.sample_request import LateRequest, Read, SampleRequest, SamplerLease
from tinker_actors.clients.source import SampleSource
from tinker_actors.errors import ClientClosedError, InvalidInputError, TinkerError
from tinker_actors.loading import load
from tinker_actors.protocol.limits.remarks import Rarely
from tinker_actors.runtime.actor import tell
from tinker_actors.runtime.forks import finalize
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker, WaitReason
from tinker_actors.runtime.staying import Staying
from tinker_actors.types.scalars import checked_int, shown

if TYPE_CHECKING:
    from tinker_actors.clients.policy_proxy import PinnedPolicyProxy, PolicyProxy
    from tinker_actors.clients.training import TrainingClient


class PolicyState:
    """What the handles of a policy share. Kept by the training client, the handles, and what is being published.

    Attributes:
        key: the policy's registry key.
        training: where the training of these weights stands.
        called: whether somebody has called `publish`.
        name: what its user calls it.
        remarks: how often the log tells of a new version.
    """

    __slots__ = ("__weakref__", "_service", "called", "key", "name", "remarks", "training")

    def __init__(self, name: str, service: Service, training: TrainingState) -> None:
        self.name = name
        self.key = next(sampler_keys)
        self.training = training
        self.called = False
        self.remarks = Rarely()
        self._service = service
        finalize(self, _retire, service, training, self.key)

    def entry(self) -> PolicyEntry | None:
        """Return the newest version, or None before the first: one attribute read, one dict lookup."""
        return self._service.samplers.current.get(self.key)  # type: ignore[return-value]  # what has our key is ours

    def publish(self, training: TrainingClient, future: APIFuture[int]) -> bool:
        """Have the weights saved and published; return whether there is a registry to do it."""
        # What is newer the training actor says: it hears the calls of all threads and signal handlers in one order.
        sampler = training.save_weights_and_get_sampling_client()
        if not self.called:
            self.called = True
            self._service.lanes.wake_sampling(SamplerChanged(self.key))  # what samples wait for has another name now
        return self._service.tell_registry(PublishPolicy(self, sampler._lease, future))


def _retire(service: Service, training: TrainingState, key: int) -> None:
    training.policies.discard(key)
    tell(service.registry, Retire(key))


class _OfTraining(Staying, SampleSource):
    """Base of what is sampled from while it is being trained."""

    _elsewhere = "Pickle a sampling client: save_weights_and_get_sampling_client() of the training client gives one."

    _training: TrainingClient

    def get_base_model(self, *, timeout: float | None = None) -> str:
        """Return the name of the base model, waiting for the server if it has to say.

        Args:
            timeout: seconds to wait; see `TrainingClient.get_info`, as for the errors.
        """
        return _base_model(self._training.get_info(timeout=timeout))

    async def get_base_model_async(self, *, timeout: float | None = None) -> str:  # noqa: ASYNC109 - see result_async
        """Await the name of the base model; see `get_base_model`."""
        return _base_model(await self._training.get_info_async(timeout=timeout))

    def _get_base_model_future(self, *, timeout: float | None = None) -> APIFuture[str]:
        return self._training._get_info_future(timeout=timeout).map(_base_model)


class Policy(_OfTraining):
    """A live policy: the newest published weights of a training client. Made by `TrainingClient.policy`; thread-safe.

    A sample takes the version that is the newest when it is asked for. Before the first version is there, it waits.
    `with_options`, `map`, `sample` and `compute_logprobs` are those of every sampler. Every response says its
    `weights_version`.

    It keeps its training client. Policies of a name are one policy: they differ in `max_lag` and options only.

    Attributes:
        name: as given.
        max_lag: how many optimizer steps the newest version may be behind those called; None for any number. When
            training has ended there will be no newer version, and the newest there is will do.
    """

    def __init__(self, training: TrainingClient, state: PolicyState, max_lag: int | None) -> None:
        self._training = training
        self._service = training._service
        self._keeper = training._keeper
        self._state = state
        self.name: str = state.name
        self.max_lag = max_lag

    def publish(self) -> APIFuture[int]:
        """Save the weights as they are after everything called so far, and sample from them as soon as they are there.

        What is sampled meanwhile goes on with the version before. Of several publications under way, the one called
        last stays, in whatever order they become ready.

        Returns:
            A future of the version: how many optimizer steps were called before, those that failed included. When it
            fails, the version before stays in place; if there is none, samples fail with that error until the next
            call.

        Raises:
            ClientClosedError: the service client was closed.
        """
        self._keeper._check_open("publish")
        service = self._service
        tracker = service.tracker("publish", "waiting for its sampler")
        future: APIFuture[int] = APIFuture(tracker, delivery=service.platform.delivery)
        future._counted = False  # the saving is
        if not self._state.publish(self._training, future):
            future._settle(error=ended_error("publish", self._service.ended))
        return future

    def pin(self) -> PinnedPolicy:
        """Fix the newest version, for an episode: whatever is published meanwhile, its samples have this one.

        Use it in a `with` block, or keep it as long as needed; it takes nothing but keeping the version published.
        Before the first version is there, the pin takes that when it comes. `max_lag` does not concern it.
        """
        return PinnedPolicy(self)

    @property
    def weights_version(self) -> int | None:
        """The newest version: how many optimizer steps are behind it. None before the first."""
        entry = self._state.entry()
        return None if entry is None else entry.weights_version

    def proxy(self) -> PolicyProxy:
        """Return a proxy: this policy in pykka's words, with futures that flatten. Thread-safe."""
        load("tinker_actors.clients.policy_proxy")
        from tinker_actors.clients.policy_proxy import PolicyProxy  # noqa: PLC0415 - it proxies this class

        return PolicyProxy(self)

    def _request(self, prompt_length: int, tracker: Tracker, read: Read | None) -> SampleRequest:
        entry = self._state.entry()
        least = self._least()
        if entry is not None and entry.lease is not None and (entry.weights_version or 0) >= least:
            return SampleRequest(self._service, entry.lease, prompt_length, tracker, read)
        return LateRequest(self._service, _Awaited(self._state, least), prompt_length, tracker, read)

    def _least(self) -> int:
        """Return the oldest version that will do. When training has ended, any: there will be no newer one."""
        training = self._state.training
        return 0 if self.max_lag is None or training.ended is not None else training.called - self.max_lag

    def __repr__(self) -> str:
        version = self.weights_version
        return f"<Policy {self.name!r}: {'nothing published' if version is None else f'version {version}'}>"


class _Awaited:
    """Chooses the first version that is new enough."""

    __slots__ = ("_least", "_pinned", "_state", "key", "reason")

    def __init__(self, state: PolicyState, least: int, pinned: _Version | None = None) -> None:
        self._state = state
        self._least = least
        self._pinned = pinned
        self.key = state.key
        self.reason: WaitReason = "waiting for its sampler"

    def choose(self) -> SamplerLease | TinkerError | None:
        """Return a version's lease, why there is none, or None to wait on."""
        pinned = None if self._pinned is None else self._pinned.lease()
        if pinned is not None:
            return pinned
        entry = self._state.entry()
        if entry is None:
            self.reason = "waiting for its sampler" if self._state.called else "waiting for publish()"
            return None
        if entry.error is not None:
            return entry.error.replica()
        if (entry.weights_version or 0) < self._least and self._state.training.ended is None:
            self.reason = "waiting for newer weights"
            return None
        lease: SamplerLease = entry.lease
        return lease


class _Version:
    """A version that is held, once there is one: by a pin, and by its samples that wait for it. Thread-safe."""

    __slots__ = ("_held", "state")

    def __init__(self, state: PolicyState) -> None:
        self.state = state
        self._held: dict[str, SamplerLease] = {}
        self.lease()

    def lease(self) -> SamplerLease | None:
        """Return what is held; the first call that finds a version decides, whatever thread it is on."""
        held = self._held.get("lease")
        if held is None:
            entry = self.state.entry()
            if entry is not None and entry.lease is not None:
                held = self._held.setdefault("lease", entry.lease)
        return held


class _Pin:
    """What a pinned policy shares with its views: the version, or None behind the block."""

    __slots__ = ("version",)

    def __init__(self, version: _Version) -> None:
        self.version: _Version | None = version


class PinnedPolicy(_OfTraining):
    """One version of a policy, for as long as this or a sample of it lives. Made by `Policy.pin`; thread-safe.

    A context manager: behind the block it takes no more samples, and those under way go on. Has what every sampler
    has; options of the policy's view hold here too.
    """

    def __init__(self, policy: Policy) -> None:
        self._training = policy._training
        self._service = policy._service
        self._keeper = policy._keeper
        self._terms = policy._terms
        self._name = policy.name
        self._pin = _Pin(_Version(policy._state))

    @property
    def weights_version(self) -> int | None:
        """The version: how many optimizer steps are behind it. None while there is none yet, and behind the block."""
        version = self._pin.version
        lease = None if version is None else version.lease()
        entry = None if lease is None else lease.entry()
        return None if entry is None else entry.weights_version

    def proxy(self) -> PinnedPolicyProxy:
        """Return a proxy: this pin in pykka's words, with futures that flatten. Thread-safe."""
        load("tinker_actors.clients.policy_proxy")
        from tinker_actors.clients.policy_proxy import PinnedPolicyProxy  # noqa: PLC0415 - it proxies this class

        return PinnedPolicyProxy(self)

    def _request(self, prompt_length: int, tracker: Tracker, read: Read | None) -> SampleRequest:
        version = self._pin.version
        if version is None:
            raise ClientClosedError("sample: the pin has ended.", advice="Sample inside its `with` block.")
        lease = version.lease()
        if lease is not None:
            return SampleRequest(self._service, lease, prompt_length, tracker, read)
        return LateRequest(self._service, _Awaited(version.state, 0, version), prompt_length, tracker, read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pin.version = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pin.version = None

    def __repr__(self) -> str:
        version = self.weights_version
        state = "ended" if self._pin.version is None else "no version yet" if version is None else f"version {version}"
        return f"<PinnedPolicy {self._name!r}: {state}>"


def policy_of(training: TrainingClient, name: str, max_lag: int | None) -> Policy:
    """Return the policy of a name, the same for the same name. Thread-safe.

    Args:
        training: whose weights.
        name: which policy.
        max_lag: a sample that is asked for while the newest version is more than so many optimizer steps behind those
            called until then waits for a newer one; None never waits.

    Raises:
        InvalidInputError: an empty name, or a lag below 0.
        ClientClosedError: the service client was closed.
    """
    given: Any = name
    if not isinstance(given, str) or not given:
        raise InvalidInputError(f"name is {shown(name)}; a policy needs a name.")
    max_lag = None if max_lag is None else checked_int(max_lag, "max_lag", least=0)
    training._keeper._check_open("policy")
    service, trained = training._service, training._state
    state = training._policies.get(name)
    if state is None:
        state = training._policies.setdefault(name, PolicyState(name, service, trained))
        trained.policies.add(state.key)
        if trained.ended is not None:  # it may have told of its end before it knew of this policy
            tell(service.registry, TrainingEnded((state.key,), trained.ended))
    return Policy(training, state, max_lag)


def _base_model(info: Any) -> str:
    return str(info.model_name)
