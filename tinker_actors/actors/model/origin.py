"""Origins: what a model is made from.

Apart from the actor that makes it, which is loaded with the first model: a program that only samples has none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tinker_actors.types.training import LoraConfig


class Origin(msgspec.Struct, frozen=True, eq=False):
    """What a model is made from.

    Attributes:
        place: where in the user's code it was asked for, for error messages.
        base_model: name of the base model; None takes the checkpoint's.
        lora_config: the adapter; None takes the checkpoint's.
        path: a checkpoint to begin with, or None.
        optimizer: load the optimizer's state of the checkpoint too.
        user_metadata: stored with the model.
        weights_access_token: for another account's checkpoint.
    """

    place: str
    base_model: str | None = None
    lora_config: LoraConfig | None = None
    path: str | None = None
    optimizer: bool = False
    user_metadata: dict[str, Any] | None = None
    weights_access_token: str | None = None
