"""A server with 1 GiB of memory, and what it has to stand: whoever asks for its health is answered all the while."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import requests

from tinker_actors.local.process import LocalServer
from tinker_actors.protocol.codec import wire_json

GIB = 2**20  # in KiB, as the kernel and the shell count

SECOND = 1.0
"""What an answer may take: half of them by the clock, and every one by what the server itself does meanwhile. Other
programs run on this machine too, so the slowest by the clock says little; a server that is kept from answering is kept
from it by its own work, and that takes processor time."""


class SmallServer(LocalServer):
    """A server whose memory the kernel limits to 1 GiB.

    The limit is on data (`RLIMIT_DATA`): every private mapping that can be written to, touched or not. A container's
    counts less, what was touched. One on the address space (`RLIMIT_AS`) would count what costs nothing: files that are
    mapped, and the 64 MiB of addresses that the C library sets aside for each thread.
    """

    def _command(self) -> list[str]:
        return ["sh", "-c", f'ulimit -d {GIB} && exec "$@"', "sh", *super()._command()]


class Watch:
    """Asks for a server's health while a block lasts.

    Attributes:
        waits: how long each answer took, in seconds: by the clock, and of the server's processor time.
    """

    def __init__(self, server: LocalServer) -> None:
        self.waits: list[tuple[float, float]] = []
        program, host = str(Path(__file__).parent / "watching.py"), server.url.removeprefix("http://")
        self._child = subprocess.Popen(
            [sys.executable, program, host, str(server.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == b"asking\n"
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._child.communicate(timeout=120)
        assert self._child.returncode == 0
        self.waits = wire_json.decode(said, list[tuple[float, float]])


@contextlib.contextmanager
def unhurt(server: LocalServer) -> Iterator[None]:
    """Check that a server answers and stays small in the block, and does its work behind it."""
    with Watch(server) as watch:
        yield
    assert statistics.median(wall for wall, _ in watch.waits) < SECOND
    assert max(min(wait) for wait in watch.waits) < SECOND
    serve_somebody(server)
    assert peak(server) < GIB, f"{peak(server) >> 10} MiB"


def peak(server: LocalServer) -> int:
    """Return the most KiB that a server has had in memory at once."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def serve_somebody(server: LocalServer) -> None:
    """Check that a server does what a well-behaved client asks of it."""
    model = create_model(server, session(server), 0)
    tokens = list(b"hello world")
    data = {
        "model_input": {"chunks": [{"tokens": tokens[:-1]}]},
        "loss_fn_inputs": {"target_tokens": {"data": tokens[1:], "dtype": "int64", "shape": [len(tokens) - 1]}},
    }
    given = {"data": [data], "loss_fn": "cross_entropy"}
    do(server, "forward_backward", {"model_id": model, "seq_id": 1, "forward_backward_input": given})
    do(server, "optim_step", {"model_id": model, "seq_id": 2, "adam_params": {}})
    done = do(server, "asample", {**SAMPLE, "base_model": base_model(server)})
    assert len(done["sequences"][0]["tokens"]) == 2
    do(server, "unload_model", {"model_id": model})


SAMPLE: dict[str, Any] = {
    "num_samples": 1,
    "prompt": {"chunks": [{"tokens": list(b"hello")}]},
    "sampling_params": {"max_tokens": 2, "stop": []},
}


def base_model(server: LocalServer) -> str:
    """Return a base model that a server has."""
    said = requests.get(f"{server.url}/api/v1/get_server_capabilities", timeout=60).json()
    return said["supported_models"][0]["model_name"]


def session(server: LocalServer, **fields: Any) -> str:
    """Open a session."""
    return good(server, "create_session", {"tags": [], "sdk_version": "0", **fields})["session_id"]


def create_model(server: LocalServer, session_id: str, number: int, **lora: Any) -> str:
    """Create a model."""
    body = {"session_id": session_id, "model_seq_id": number, "base_model": base_model(server)}
    return do(server, "create_model", {**body, "lora_config": {"rank": 4, **lora}})["model_id"]


def good(server: LocalServer, path: str, body: Any) -> Any:
    """Ask for something that the server has to answer."""
    answer = requests.post(f"{server.url}/api/v1/{path}", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def do(server: LocalServer, path: str, body: Any) -> Any:
    """Have something done, and return the result."""
    request_id = good(server, path, body)["request_id"]
    done = {"type": "try_again"}
    while done.get("type") == "try_again":
        done = good(server, "retrieve_future", {"request_id": request_id})
    assert "error" not in done, done
    return done


def post(server: LocalServer, path: str, body: Any, kind: str = "application/json", **headers: str) -> int:
    """Send a body, or pieces of one without a length, and return the status."""
    given = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        return requests.post(f"{server.url}/api/v1/{path}", data=body, headers=given, timeout=120).status_code
    except requests.ConnectionError:
        return 413  # it was refused before it was sent whole


def together(*calls: Callable[[], int]) -> list[int]:
    """Make calls at the same time."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda call=call: found.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def filled(unit: bytes, size: int) -> bytes:
    """Return a unit again and again, up to a size."""
    return unit * (size // len(unit))
