"""`tinker://` paths: `tinker://<run id>/<segment>/<name>`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tinker_actors.errors import InvalidInputError
from tinker_actors.types.scalars import sendable_text, shown

SCHEME = "tinker://"

_KINDS: dict[str, Literal["training", "sampler", "external"]] = {
    "weights": "training",
    "sampler_weights": "sampler",
    "external_weights": "external",
}
_PARTS = 3


class ParsedCheckpointTinkerPath(msgspec.Struct, frozen=True):
    """The parts of a checkpoint's path.

    Attributes:
        tinker_path: the whole path.
        training_run_id: the run it was saved from.
        checkpoint_type: `"training"`, `"sampler"` or `"external"`.
        checkpoint_id: `<segment>/<name>`, as the REST endpoints use it.
    """

    tinker_path: str
    training_run_id: str
    checkpoint_type: Literal["training", "sampler", "external"]
    checkpoint_id: str

    @classmethod
    def from_tinker_path(cls, tinker_path: str) -> ParsedCheckpointTinkerPath:
        """Parse a path (wire protocol 3.13).

        Raises:
            InvalidInputError: not `tinker://<run>/<weights|sampler_weights|external_weights>/<name>`.
        """
        parts = sendable_text(tinker_path, "The checkpoint's path").removeprefix(SCHEME).split("/")
        if not tinker_path.startswith(SCHEME) or len(parts) != _PARTS or not all(parts) or parts[1] not in _KINDS:
            raise InvalidInputError(
                f"{shown(tinker_path)} is no checkpoint path; one looks like tinker://<run id>/weights/<name> "
                f"(or sampler_weights, external_weights)."
            )
        return cls(tinker_path, parts[0], _KINDS[parts[1]], f"{parts[1]}/{parts[2]}")


def require_tinker_path(path: Any, argument: str) -> str:
    """Return `path` if it is text that starts with `tinker://` and can be sent.

    Raises:
        InvalidInputError: it does not; the message names `argument`.
    """
    if not isinstance(path, str) or not path.startswith(SCHEME):
        raise InvalidInputError(f"{argument} must start with tinker://, got {shown(path)}.")
    return sendable_text(path, argument)
