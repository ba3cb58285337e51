"""`tinker://` paths."""

from __future__ import annotations

import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.types import ParsedCheckpointTinkerPath
from tinker_actors.types.paths import require_tinker_path


@pytest.mark.parametrize(
    ("path", "run", "kind", "checkpoint"),
    [
        ("tinker://s-1:train:0/weights/c1", "s-1:train:0", "training", "weights/c1"),
        ("tinker://r/sampler_weights/0001", "r", "sampler", "sampler_weights/0001"),
        ("tinker://r/external_weights/x", "r", "external", "external_weights/x"),
    ],
)
def test_a_path_has_a_run_a_kind_and_a_name(path, run, kind, checkpoint):
    parsed = ParsedCheckpointTinkerPath.from_tinker_path(path)
    assert (parsed.tinker_path, parsed.training_run_id, parsed.checkpoint_type, parsed.checkpoint_id) == (
        path, run, kind, checkpoint,
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["", "r/weights/c", "tinker://m/c1", "tinker://m/weights/", "tinker:///weights/c", "tinker://m/models/c",
     "tinker://m/weights/a/b", "http://m/weights/c"],
)  # fmt: skip
def test_other_paths_are_refused_with_an_example(path):
    with pytest.raises(InvalidInputError, match="one looks like tinker://"):
        ParsedCheckpointTinkerPath.from_tinker_path(path)


def test_a_path_without_its_scheme_is_refused_by_the_arguments_name():
    assert require_tinker_path("tinker://m/c1", "model_path") == "tinker://m/c1"
    for wrong in ("m/c1", None, 7, "TINKER://m"):
        with pytest.raises(InvalidInputError, match="model_path must start with tinker://"):
            require_tinker_path(wrong, "model_path")
