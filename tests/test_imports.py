"""What is loaded when: importing the clients brings what they need, and the rest comes when it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinker_actors import types

ROOT = Path(__file__).parents[1]
SAMPLES = "from tinker_actors import Config, ModelInput, SamplingClient, SamplingParams, ServiceClient, TinkerError\n"
TRAINS = "from tinker_actors import AdamParams, Datum, TrainingClient\n"

# What we can't help: it comes with those without whom there is no client. What they load differs between versions.
GIVEN = "import logging, msgspec, numpy, pykka\nimport sys\ngiven = set(sys.modules)\n"

SHOW = "\nprint(*sorted(set(sys.modules) - given))"

# Loaded by what uses them: TLS and proxies, REST, tokenizers, protobuf data, asyncio users, web pages in place of
# answers, the embedded server, the command line.
NEVER = {
    "asyncio", "concurrent.futures.thread", "email", "google.protobuf", "html", "http.client", "httptools",
    "importlib.metadata", "logging.config", "multiprocessing", "numpy.random", "numpy.testing", "pathlib", "requests",
    "rich", "ssl", "starlette", "tempfile", "tokenizers", "torch", "unittest", "urllib.request", "urllib3", "uvicorn",
    "zstandard",
    "tinker_actors.cli", "tinker_actors.data", "tinker_actors.local", "tinker_actors.testing",
    "tinker_actors.clients.attachment", "tinker_actors.clients.fan_out", "tinker_actors.clients.proxy",
    "tinker_actors.clients.sampler_handle", "tinker_actors.runtime.derived",
    "tinker_actors.protocol.codec.protobuf.serving", "tinker_actors.net.connection", "tinker_actors.net.tls_dialing",
    "tinker_actors.net.http_transport",
    "tinker_actors.types.accounts", "tinker_actors.types.checkpoints", "tinker_actors.types.runs",
    "tinker_actors.types.sessions",
}  # fmt: skip

ONLY_TO_TRAIN = {
    "tinker_actors.actors.model.creation", "tinker_actors.actors.model.number_gaps", "tinker_actors.actors.model.actor",
    "tinker_actors.clients.policy", "tinker_actors.clients.steps", "tinker_actors.clients.training",
    "tinker_actors.protocol.order", "tinker_actors.protocol.replies.reduction",
}  # fmt: skip


def loaded_by(program: str) -> set[str]:
    """Run a program in a fresh interpreter, which prints names of modules; return them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.split())


def test_every_module_named_here_exists():
    ours = {name for name in NEVER | ONLY_TO_TRAIN if name.startswith("tinker_actors.")}
    files = {name: ROOT / name.replace(".", "/") for name in ours}
    assert [name for name, file in files.items() if not (file.is_dir() or file.with_suffix(".py").exists())] == []


def test_a_program_that_samples_loads_nothing_else():
    loaded = loaded_by(GIVEN + SAMPLES + SHOW)
    assert "tinker_actors.clients.service" in loaded
    assert loaded & (NEVER | ONLY_TO_TRAIN) == set()


def test_a_program_that_trains_loads_training_with_the_names():
    loaded = loaded_by(GIVEN + SAMPLES + TRAINS + SHOW)
    assert "tinker_actors.clients.training" in loaded
    assert loaded & NEVER == set()


def test_a_program_that_only_has_types_and_errors_loads_no_actors():
    loaded = loaded_by(GIVEN + "from tinker_actors import Config, Datum, TinkerError, types\n" + SHOW)
    rooms = {name.split(".")[1] for name in loaded if name.startswith("tinker_actors.")}
    assert rooms == {"config", "errors", "loading", "secrets", "types", "version", "wording"}


def test_the_first_model_finds_its_actor():
    program = """
service = ServiceClient(base_url="http://127.0.0.1:1")
model = service.create_lora_training_client("stub")
print(type(model).__module__, type(model).__name__)
service.close(timeout=0.01)
"""
    assert loaded_by(SAMPLES + "import logging\nlogging.disable()" + program) == {
        "tinker_actors.clients.training", "TrainingClient",
    }  # fmt: skip


def test_every_type_is_there_however_it_is_asked_for():
    program = f"""
from tinker_actors import types
one_by_one = [getattr(types, name) for name in {types.__all__!r}]
from tinker_actors.types import *
from tinker_actors.types import accounts, WhoamiResponse
assert one_by_one == [globals()[name] for name in types.__all__]
assert WhoamiResponse is types.WhoamiResponse is accounts.WhoamiResponse
assert set(types.__all__) <= set(dir(types))
print(len(one_by_one))
"""
    assert loaded_by(program) == {str(len(types.__all__))}


def test_the_modules_of_types_are_there_without_an_import_of_their_own():
    homes = ("accounts", "checkpoints", "runs", "sessions")
    program = "from tinker_actors import types\n" + "".join(f"print(types.{home}.__name__)\n" for home in homes)
    assert loaded_by(program) == {f"tinker_actors.types.{home}" for home in homes}


def test_threads_that_ask_first_all_get_the_same():
    program = """
import threading
from tinker_actors import types
import tinker_actors
found, together = [], threading.Barrier(16)
orders = ("WhoamiResponse", "SessionSummary", "TrainingRun"), ("TrainingRun", "Cursor", "WhoamiResponse")
def ask(number):
    together.wait()
    mine = {name: id(getattr(types, name)) for name in orders[number % 2]}
    found.append(mine | {"client": id(tinker_actors.TrainingClient)})
threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
merged = {}
assert len(found) == 16 and all(merged.setdefault(name, it) == it for one in found for name, it in one.items())
print(len(merged))
"""
    assert loaded_by(program) == {"5"}


def test_a_name_that_no_module_has_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Whoami"):
        _ = types.Whoami
