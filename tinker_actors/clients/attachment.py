"""Copies of samplers: a sampling client made again from what another process wrote down.

A copy samples from the same sampler in the same session of the server. It opens nothing and finishes nothing; it keeps
the session alive from where it is, and takes a clone number so that its samples are not mistaken for another's. The
copies of a process share one such session and its lanes.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import msgspec

from tinker_actors.actors.messages import Shutdown
from tinker_actors.actors.registry import sampler_keys
from tinker_actors.actors.sampler import Sampling
from tinker_actors.actors.session.messages import SessionSettings
from tinker_actors.actors.supervisor import Close, Keep, Watch, open_service
from tinker_actors.clients.machine import machine
from tinker_actors.clients.place import callers_place
from tinker_actors.clients.sampling import SamplingClient
from tinker_actors.clients.trust import config_for, mark_of
from tinker_actors.config import Config
from tinker_actors.errors import ClientClosedError, ConfigError
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.forks import check_not_forked, finalize, on_fork
from tinker_actors.runtime.futures import APIFuture

# A worker that unpickles a copy for each of its tasks shall not connect anew for each: what was copied stays this long.
_LINGER = 60.0
# For the lanes of a copy that may talk to nobody. Nothing is sent.
_NOWHERE = "http://localhost:9"


class SamplerState(msgspec.Struct, frozen=True, eq=False):
    """What a copy of a sampling client is made from; what a pickle holds.

    Attributes:
        session_id: the session on the server.
        sampling_session_id: the sampler in it.
        config: the settings of the original; pickled without credentials.
        base_model: name of the model behind it, when known.
        model_path: the checkpoint it was made from, if any.
        weights_version: optimizer steps behind its weights, when known.
        said: what the server said in `client/config`, as JSON; empty to have the copy ask.
        options: arguments for `with_options`, for a pickled view.
        mark: shows, to those who have the same key, that the address is one that this key may go to.
    """

    session_id: str
    sampling_session_id: str
    config: Config
    base_model: str | None = None
    model_path: str | None = None
    weights_version: int | None = None
    said: bytes = b""
    options: dict[str, Any] = {}
    mark: str = ""


def sampler_state(client: SamplingClient, options: dict[str, Any] | None = None) -> SamplerState:
    """Return what a copy of a client is made from, waiting until the sampler is there.

    Args:
        client: the client.
        options: arguments for `with_options`, when the client is a view.

    Raises:
        TinkerError: the sampler could not be made or is lost, or its service was closed.
    """
    client._keeper._check_open("copying a sampling client")
    made = client._ready.result()
    entry = client._lease.entry()
    if entry is None or not entry.decided:  # the registry has yet to publish what was made
        entry = made
    if entry.error is not None:
        raise entry.error.replica()
    service = client._service
    return SamplerState(
        session_id=str(service.session_id),
        sampling_session_id=str(entry.sampling_session_id),
        config=service.config,
        base_model=entry.base_model,
        model_path=entry.model_path,
        weights_version=entry.weights_version,
        said=service.said,
        options=options or {},
        mark=mark_of(str(service.config.base_url), service.config.api_key),
    )


def rebuild_sampler(state: SamplerState) -> SamplingClient:
    """Return a copy, made in this process; what unpickling calls.

    Address and limits are the original's, credentials this process's own: `TINKER_API_KEY` and the other variables.
    They go to that address only as `trust` says. Where they may not, or don't fit it, the copy is there and every call
    of it fails with the `ConfigError`: an error raised while a task is unpickled
    would take a worker of a process pool down instead of reaching its owner.
    """
    try:
        config = config_for(str(state.config.base_url), "pickled sampler", config=state.config, mark=state.mark)
        refusal = None
    except ConfigError as error:
        config, refusal = Config(base_url=_NOWHERE), error.with_traceback(None)
    settings = SessionSettings(session_id=state.session_id, said=state.said, refusal=refusal)
    return copy_of(state, config, settings)


class Attachment:
    """A session that another process opened, kept alive from here for the copies of its samplers.

    Attributes:
        actor_ref: the supervisor of what runs for it.
    """

    def __init__(self, config: Config, settings: SessionSettings) -> None:
        self._service = open_service(config, machine(), settings)
        self.actor_ref: Ref = self._service.supervisor
        finalize(self, _abandon, self.actor_ref)
        self._samplers: weakref.WeakValueDictionary[str, SamplingClient] = weakref.WeakValueDictionary()
        self._kept: dict[str, float] = {}

    def known(self, sampler: str) -> SamplingClient | None:
        """Return the copy of a sampler that is here already, or None."""
        return self._samplers.get(sampler)

    def is_over(self, sampler: str) -> bool:
        """Return whether the copy of a sampler that is here, or everything here, has failed."""
        client = self.known(sampler)
        entry = None if client is None else client._lease.entry()
        return not self.actor_ref.is_alive() or (entry is not None and entry.state == "failed")

    def copy(self, state: SamplerState) -> SamplingClient:
        """Return a new copy of a sampler."""
        service = self._service
        tracker = service.tracker("join_sampling_session")
        ready: APIFuture[Any] = APIFuture(tracker, delivery=service.platform.delivery)
        key = next(sampler_keys)
        actor = Sampling(
            service,
            key,
            ready,
            callers_place(),
            base_model=state.base_model,
            model_path=state.model_path,
            copied=state.sampling_session_id,
            weights_version=state.weights_version,
        )
        ref = actor.actor_ref
        actor.monitor(self.actor_ref)
        if not tell(self.actor_ref, Watch(ref, f"sampling-{key}")):
            tell(ref, Shutdown(service.ended or ClientClosedError()))
        actor.executor.run(actor)
        client = SamplingClient(service, key, ref, ready, self)
        self._samplers[state.sampling_session_id] = client
        return client

    def keep(self, client: SamplingClient, sampler: str) -> None:
        """Keep a copy, and this with it, for a while after it was asked for."""
        now = self._service.platform.control.clock.now()
        if now - self._kept.get(sampler, -_LINGER) > _LINGER / 2:
            self._kept[sampler] = now
            tell(self.actor_ref, Keep(client, _LINGER))

    def _check_open(self, what: str) -> None:
        check_not_forked(what, self._service.epoch)


def _abandon(supervisor: Ref) -> None:
    tell(supervisor, Close("success", None, 0.0))


_attachments: weakref.WeakValueDictionary[Any, Attachment] = weakref.WeakValueDictionary()
_guard = threading.RLock()  # a signal handler may make a copy while one is being made


def copy_of(state: SamplerState, config: Config, settings: SessionSettings) -> SamplingClient:
    """Return the copy of a sampler in this process: the one there is, or a new one. Thread-safe.

    Args:
        state: the sampler, and the options of the view.
        config: resolved, with the credentials of this process.
        settings: which session it belongs to.
    """
    fields = msgspec.structs.asdict(config)
    fields["default_headers"] = tuple(sorted(config.default_headers.items()))
    key = (state.session_id, *fields.values())
    sampler = state.sampling_session_id
    with _guard:
        attachment = _attachments.get(key)
        if attachment is None or attachment.is_over(sampler):
            attachment = _attachments[key] = Attachment(config, settings)
        client = attachment.known(sampler) or attachment.copy(state)
        attachment.keep(client, sampler)
    return client.with_options(**state.options) if state.options else client


def _forget() -> None:
    global _attachments, _guard
    _attachments, _guard = weakref.WeakValueDictionary(), threading.RLock()


on_fork(_forget)
