"""One training step in parts: building datums, forward_backward and optim_step, reading every logprob.

As arrays where the datums are made of arrays and as lists where they are made of lists; then as lists once more.

The same program for both packages, which have the same names for it. It runs under the other's interpreter too, so it
imports nothing but numpy and the package itself.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
from typing import Any

import numpy as np

_VOCABULARY = 150_000
_GIVE_UP = 120.0


def _inputs(spec: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    rng = np.random.default_rng(1)
    size = spec["tokens"]
    arrays = [
        (rng.integers(0, _VOCABULARY, size), rng.integers(0, _VOCABULARY, size), rng.random(size, np.float32))
        for _ in range(spec["datums"])
    ]
    if spec["inputs"] == "numpy":
        return arrays
    return [(tokens.tolist(), targets.tolist(), weights.tolist()) for tokens, targets, weights in arrays]


def _build(sdk: Any, given: list[tuple[Any, Any, Any]], *, tokens_as_lists: bool) -> list[Any]:
    return [
        sdk.Datum(
            model_input=sdk.ModelInput.from_ints(tokens.tolist() if tokens_as_lists else tokens),
            loss_fn_inputs={"target_tokens": targets, "weights": weights},
        )
        for tokens, targets, weights in given
    ]


def _step(sdk: Any, training: Any, given: Any, *, arrays: bool, tokens_as_lists: bool) -> tuple[list[float], int]:
    marks = [time.process_time()]
    data = _build(sdk, given, tokens_as_lists=tokens_as_lists)
    marks.append(time.process_time())
    passed = training.forward_backward(data, "cross_entropy")
    stepped = training.optim_step(sdk.AdamParams(learning_rate=1e-4))
    output = passed.result(timeout=_GIVE_UP)
    stepped.result(timeout=_GIVE_UP)
    marks.append(time.process_time())
    logprobs = [each["logprobs"] for each in output.loss_fn_outputs]
    read = sum(each.to_numpy().size if arrays else len(each.tolist()) for each in logprobs)
    marks.append(time.process_time())
    read_again = sum(len(each.tolist()) for each in logprobs)
    assert read == read_again
    marks.append(time.process_time())
    return [1000 * (after - before) for before, after in itertools.pairwise(marks)], read


def main() -> None:
    """Run the spec that is the only argument: `package`, `url`, `cores`, `datums`, `tokens`, `inputs`, `steps`."""
    spec = json.loads(sys.argv[1])
    if spec["cores"]:
        os.sched_setaffinity(0, spec["cores"])
    package = importlib.import_module(spec["package"])
    # The official types take token ids as sequences only, so arrays have to become lists there, as in users' programs.
    official = spec["package"] == "tinker"
    arrays = spec["inputs"] == "numpy"
    given = _inputs(spec)
    service = package.ServiceClient(base_url=spec["url"])
    training = service.create_lora_training_client(base_model="stub", rank=32)
    if official:
        training = training.result()
    steps, read = [], 0
    for _ in range(spec["steps"] + 1):
        parts, read = _step(package, training, given, arrays=arrays, tokens_as_lists=official and arrays)
        steps.append(parts)
    service.close("success")
    described = f"{type(training).__module__}.{type(training).__qualname__}"
    print(json.dumps({"steps": steps[1:], "first": steps[0], "read": read, "client": described}), flush=True)
    os._exit(0)  # the official client's threads abort the process now and then while the interpreter goes down


if __name__ == "__main__":
    main()
