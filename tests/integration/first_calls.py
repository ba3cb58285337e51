"""A program that makes a call for the first time, again and again, and has it interrupted at another point each time.

Each time is in a forked child of its own, in which what the call loads is not loaded yet. Prints a JSON object a line:
where the call was interrupted, and what went wrong (null: nothing).

    first_calls.py URL CALL HOW STRIDE HANDLE

HOW is `handler` (a signal handler makes the same call at each line that the main thread runs), `interrupt` (a
`KeyboardInterrupt` is raised there, and the call made again) or `loading` (the handler comes while another thread is
loading a module: each module that it loads in turn). STRIDE: every how many of these points.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import itertools
import json
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import tinker_actors as ta

HANG = 60.0
PACKAGE = str(Path(ta.__file__).parent)
GREEDY = ta.SamplingParams(max_tokens=1, temperature=0.0, stop=[])
PROMPT = ta.ModelInput.from_ints([97])
DATUM = ta.Datum(PROMPT, {"target_tokens": [98], "weights": [1.0]})
UNLOADED = ("service", "names")
"""Calls before which not even the client is loaded."""


def call_of(name: str, url: str, handle: str) -> Callable[[], Any]:
    """Return a call, with all that comes before it done."""
    if name == "service":
        return lambda: ta.ServiceClient(base_url=url).get_server_capabilities()
    if name == "names":
        return lambda: (ta.TrainingClient, ta.Policy, ta.data.__doc__, ta.types.WhoamiResponse)
    service = ta.ServiceClient(base_url=url)
    if name == "train":
        return lambda: service.create_lora_training_client("local/tiny", rank=1).result(HANG)
    if name == "from handle":
        return lambda: service.create_sampling_client_from_handle(handle).sample(PROMPT, 1, GREEDY).result(HANG)
    if name == "proxy of the service":
        return lambda: service.proxy().get_server_capabilities().get(timeout=HANG)
    if name == "wrong name":
        return lambda: refused(lambda: ta.ServiceClient(base_ulr=url))
    if name in ("proxy of the trainer", "forward", "policy"):
        trainer = service.create_lora_training_client("local/tiny", rank=1)
        trainer.result(HANG)
        policy = trainer.policy("main")
        return {
            "proxy of the trainer": lambda: trainer.proxy().forward([DATUM], "cross_entropy").get(timeout=HANG),
            "forward": lambda: trainer.forward([DATUM], "cross_entropy").result(HANG).loss_fn_outputs,
            "policy": lambda: policy.proxy().publish().get(timeout=HANG),
        }[name]
    sampler = service.create_sampling_client(base_model="local/tiny")
    sampler.sample(PROMPT, 1, GREEDY).result(HANG)
    return {
        "proxy of the sampler": lambda: sampler.proxy().sample(PROMPT, 1, GREEDY).get(timeout=HANG),
        "map of a future": lambda: sampler.sample(PROMPT, 1, GREEDY).map(str).result(HANG),
        "map of a sampler": lambda: list(sampler.map([PROMPT, PROMPT], 1, GREEDY)),
        "handle": sampler.get_sampler_handle,
        "copy": lambda: pickle.loads(pickle.dumps(sampler)).sample(PROMPT, 1, GREEDY).result(HANG),
    }[name]


def refused(call: Callable[[], Any]) -> None:
    with contextlib.suppress(TypeError):
        call()
        raise AssertionError("it was not refused")


class Point:
    """One point of a call, at which it is interrupted.

    Args:
        at: its number.
        act: what comes then.

    Attributes:
        where: the point; None before it came.
    """

    def __init__(self, at: int, act: Callable[[], Any]) -> None:
        self._left = at
        self._act = act
        self.where: str | None = None

    def reached(self, where: str) -> None:
        """Count a point, and act where it is the one."""
        if self.where is None:
            if self._left == 0:
                self.where = where
                self._act()
            self._left -= 1


def at_a_line(point: Point, call: Callable[[], Any]) -> Any:
    """Make a call; its points are the lines of this package that the calling thread runs, imports included."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_code.co_filename.startswith(PACKAGE):
            point.reached(f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}")
        return trace

    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(None)


def at_a_module(point: Point, call: Callable[[], Any]) -> Any:
    """Make a call; its points are the modules that another thread begins to load for it."""

    class Watch(importlib.abc.MetaPathFinder):
        """Finds nothing, but is asked first."""

        def find_spec(self, name: str, *_: Any) -> None:
            if threading.current_thread().name == "tinker-actors-loading":
                point.reached(f"loading {name}")

    sys.meta_path.insert(0, Watch())
    return call()


def once(name: str, url: str, how: str, handle: str, at: int) -> dict[str, str | None]:
    """Make a call that is interrupted at one point, and tell how that went."""
    call, wrong, begun = call_of(name, url, handle), [], threading.Event()

    def handler(*_: Any) -> None:
        begun.set()
        try:
            call()
        except BaseException:
            wrong.append("in the handler: " + traceback.format_exc())

    def signalled() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        if threading.get_ident() != threading.main_thread().ident:
            begun.wait(HANG)  # so that it comes while the module is half made

    def interrupted() -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGUSR1, handler)
    point = Point(at, interrupted if how == "interrupt" else signalled)
    try:
        try:
            (at_a_module if how == "loading" else at_a_line)(point, call)
        except KeyboardInterrupt:
            call()
    except BaseException:
        wrong.append(traceback.format_exc())
    return {"where": point.where, "wrong": "\n".join(wrong) or None}


def in_child(*args: Any) -> dict[str, str | None]:
    """Have `once` done in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(int(HANG))  # whoever waits for ever is killed, and says nothing
        os.write(writer, json.dumps(once(*args)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said else {"where": "somewhere", "wrong": f"ended with {status}"}


def main(url: str, name: str, how: str, stride: str, handle: str) -> None:
    if name not in UNLOADED:
        _ = ta.ServiceClient
    for at in itertools.count(step=int(stride)):
        told = in_child(name, url, how, handle, at)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        if told["where"] is None or told["wrong"] is not None:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
