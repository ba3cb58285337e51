"""A program whose process stands still for longer than all its limits, by itself or because it is stopped.

Run with the server's address and `stop` or `jump`. It says "ready" when work is under way, waits for a line, and then
says what became of that work and of some more.
"""

from __future__ import annotations

import sys
import time

import tinker_actors as ta
from tinker_actors.runtime.clock import MonotonicClock

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
DATUM = ta.Datum(PROMPT, {"target_tokens": [2, 3, 4], "weights": [1.0] * 3})
LIMITS = {"silence_limit": 1.5, "liveness_limit": 1.5, "heartbeat_interval": 0.3, "heartbeat_timeout": 1.0,
          "request_timeout": 1.0, "poll_timeout": 1.0, "creation_timeout": 1.5}  # fmt: skip
HANG = 60.0

ahead = 0.0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(url: str, how: str) -> None:
    global ahead  # noqa: PLW0603 - the clock below
    MonotonicClock.now = staticmethod(lambda: time.monotonic() + ahead)  # type: ignore[method-assign]  # it can jump
    with ta.ServiceClient(base_url=url, config=ta.Config(**LIMITS)) as service:
        trainer = service.create_lora_training_client("local/tiny", rank=4)
        sampler = service.create_sampling_client(base_model="local/tiny")
        trainer.get_info()
        sampler.get_base_model()
        calls = {
            "gradient": trainer.forward_backward([DATUM], "cross_entropy"),
            "sample": sampler.sample(PROMPT, 1, {"max_tokens": 3}),
        }
        say("ready")
        sys.stdin.readline()
        if how == "jump":
            ahead = 3600.0
        calls["later sample"] = sampler.sample(PROMPT, 1, {"max_tokens": 3})
        calls["later step"] = trainer.optim_step()
        calls["new sampler"] = service.create_sampling_client(base_model="local/tiny").sample(
            PROMPT, 1, {"max_tokens": 1}
        )
        for what, future in calls.items():
            error = future.exception(HANG)
            say(f"{what} {'passes' if error is None else repr(error)}")


main(*sys.argv[1:])
