"""What a server says about itself."""

from __future__ import annotations

import msgspec


class SupportedModel(msgspec.Struct, eq=False):
    """A base model that the server has.

    Attributes:
        model_name: its name.
        max_context_length: prompt plus completion, in tokens.
        trainable: whether adapters can be trained on it.
        sampleable: whether it can be sampled from.
    """

    model_name: str | None = None
    max_context_length: int | None = None
    trainable: bool | None = None
    sampleable: bool | None = None


class GetServerCapabilitiesResponse(msgspec.Struct, eq=False):
    """The base models that a server has.

    Attributes:
        supported_models: one entry per base model.
    """

    supported_models: list[SupportedModel] = msgspec.field(default_factory=list)
