"""The proxy of a sampling client."""

from __future__ import annotations

from typing import Final

from tinker_actors.clients.proxy import HandleProxy, returning
from tinker_actors.clients.sampling import SamplingClient
from tinker_actors.clients.source_proxy import SourceProxy


class SamplingProxy(SourceProxy[SamplingClient], HandleProxy[SamplingClient]):
    """Drives a sampling client as pykka drives an actor; see `SamplingClient` for what its methods do."""

    get_base_model: Final = returning(SamplingClient.get_base_model)
    get_sampler_handle: Final = returning(SamplingClient.get_sampler_handle)
