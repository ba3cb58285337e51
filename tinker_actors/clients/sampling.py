"""The sampling client: any thread samples, and none waits for an actor.

A call reads the published snapshot, encodes the request in the caller's thread and puts one message into the lane's
inbox. The sampling and registry actors may be busy, blocked or being restarted meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinker_actors.actors.ask import ask_for
from tinker_actors.actors.service import SamplerEntry, Service
from tinker_actors.clients.handle import Handle
from tinker_actors.clients.options import options_of
from tinker_actors.clients.questions import checked_timeout, limited, question, wait_for, wait_for_async
from tinker_actors.clients.sample_request import Read, SampleRequest, SamplerLease
from tinker_actors.clients.source import SampleSource
from tinker_actors.config import Config
from tinker_actors.loading import load
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.delivery import Inner
from tinker_actors.runtime.forks import check_not_forked
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker

if TYPE_CHECKING:
    from tinker_actors.clients.sampling_proxy import SamplingProxy


class SamplingClient(SampleSource, Handle):
    """Samples from one set of weights. Made by `ServiceClient` or `TrainingClient`; thread-safe.

    Usable at once: samples asked for before the server has made the sampler wait for it. Pickles without credentials:
    the copy, in whatever process, samples from the same sampler with the credentials of that process.
    """

    def __init__(
        self, service: Service, key: int, actor_ref: RuntimeRef[Any], ready: APIFuture[Any], keeper: Any
    ) -> None:
        super().__init__(actor_ref, ready)
        self._service = service
        self._lease = SamplerLease(key, service, actor_ref)
        self._keeper = keeper  # the service client: as long as this handle lives, the service does

    def get_base_model(self, *, timeout: float | None = None) -> str:
        """Return the name of the base model behind this sampler, waiting for the server if it has to say.

        Args:
            timeout: seconds to wait; None waits until the sampler is made, and `Config(creation_timeout=)` then.

        Raises:
            DeadlineExceededError: the time is over.
            TinkerError: the sampler could not be made, or the server does not answer.
        """
        return wait_for(self._get_base_model_future(), timeout)

    async def get_base_model_async(self, *, timeout: float | None = None) -> str:  # noqa: ASYNC109 - see result_async
        """Await the name of the base model behind this sampler; see `get_base_model`."""
        return await wait_for_async(self._get_base_model_future(), timeout)

    # ------------------------------------------------------------ for other processes

    def get_sampler_handle(self, *, timeout: float | None = None) -> str:
        """Return this sampler as text without credentials, for `from_sampler_handle` elsewhere; waits until it is made.

        Args:
            timeout: seconds to wait; as for `get_base_model`, which the text tells.

        Raises:
            DeadlineExceededError: the time is over.
            TinkerError: the sampler could not be made, or its service was closed.
        """
        load("tinker_actors.clients.attachment", "tinker_actors.clients.sampler_handle")
        from tinker_actors.clients.attachment import sampler_state  # noqa: PLC0415 - it makes clients of this class
        from tinker_actors.clients.sampler_handle import handle_text  # noqa: PLC0415 - same

        self._keeper._check_open("get_sampler_handle")
        base_model = self.get_base_model(timeout=timeout)  # when it is known, the sampler is made
        return handle_text(sampler_state(self), base_model)

    async def get_sampler_handle_async(self, *, timeout: float | None = None) -> str:  # noqa: ASYNC109 - see result_async
        """Await this sampler as text; see `get_sampler_handle`."""
        load("tinker_actors.clients.attachment", "tinker_actors.clients.sampler_handle")
        from tinker_actors.clients.attachment import sampler_state  # noqa: PLC0415 - it makes clients of this class
        from tinker_actors.clients.sampler_handle import handle_text  # noqa: PLC0415 - same

        base_model = await self.get_base_model_async(timeout=timeout)
        return handle_text(sampler_state(self), base_model)

    @classmethod
    def from_sampler_handle(
        cls, handle: str, *, base_url: str | None = None, api_key: str | None = None, config: Config | None = None
    ) -> SamplingClient:
        """Return a copy of the sampler that a handle names.

        Args:
            handle: the text, ours or the official SDK's.
            base_url: the server; default: the handle's, if it is trusted. See `sampler_handle.sampler_from_handle`.
            api_key: the credential; default: `TINKER_API_KEY`.
            config: everything else.

        Raises:
            InvalidInputError: the text is no handle, or holds a credential.
            ConfigError: the handle's server is none of the trusted ones, or address and key don't fit together.
        """
        load("tinker_actors.clients.sampler_handle")
        from tinker_actors.clients.sampler_handle import sampler_from_handle  # noqa: PLC0415 - it makes such clients

        return sampler_from_handle(handle, base_url=base_url, api_key=api_key, config=config)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what a copy is made from; waits until the sampler is made."""
        load("tinker_actors.clients.attachment")
        from tinker_actors.clients.attachment import rebuild_sampler, sampler_state  # noqa: PLC0415 - same

        return rebuild_sampler, (sampler_state(self, options_of(self._terms)),)

    def proxy(self) -> SamplingProxy:
        """Return a proxy: this client in pykka's words, with futures that flatten. Thread-safe."""
        load("tinker_actors.clients.sampling_proxy")
        from tinker_actors.clients.sampling_proxy import SamplingProxy  # noqa: PLC0415 - it proxies this class

        return SamplingProxy(self)

    # ------------------------------------------------------------ inside

    def _request(self, prompt_length: int, tracker: Tracker, read: Read | None) -> SampleRequest:
        return SampleRequest(self._service, self._lease, prompt_length, tracker, read)

    def _get_sampler_handle_future(self, *, timeout: float | None = None) -> APIFuture[str]:
        load("tinker_actors.clients.attachment", "tinker_actors.clients.sampler_handle")
        from tinker_actors.clients.attachment import sampler_state  # noqa: PLC0415 - it makes clients of this class
        from tinker_actors.clients.sampler_handle import handle_text  # noqa: PLC0415 - same

        self._keeper._check_open("get_sampler_handle")
        base_model = self._get_base_model_future(timeout=timeout)
        return base_model.map(lambda name: handle_text(sampler_state(self), name))

    def _get_base_model_future(self, *, timeout: float | None = None) -> APIFuture[str]:
        service, timeout = self._service, checked_timeout(timeout)
        check_not_forked("get_base_model", service.epoch)
        name: APIFuture[str] = question(service, "get_base_model")

        def ask(ready: APIFuture[Any], _held: Any = self._lease) -> None:  # until then nobody may retire the sampler
            error = ready._failure()
            if error is not None:
                name._settle(error=error)
                return
            entry: SamplerEntry = ready.result()
            if entry.base_model is not None:
                name._settle(entry.base_model)
                return
            ask_for(
                service.lanes,
                name,
                "get_sampler",
                take=lambda sampler: sampler.base_model,
                session=service.link,
                patience=service.config.creation_timeout,
                sampler_id=str(entry.sampling_session_id),
            )

        self._ready.add_done_callback(Inner(ask))
        return limited(service, name, timeout)

    def __repr__(self) -> str:
        entry = self._lease.entry()
        if entry is None:  # its actor has not begun yet, or everything has ended
            return f"<SamplingClient {'retired' if self._ready.done() else 'creating'}>"
        why = "" if entry.error is None else f": {getattr(entry.error, 'message', entry.error)}"
        return f"<SamplingClient {entry.state}: {entry.model_path or entry.base_model or 'saved weights'}{why}>"
