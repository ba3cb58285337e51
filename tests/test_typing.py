"""Types as a program sees them: nothing public is of any type at all, and the package says that it has types."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tinker_actors as ta

from .typing import completeness
from .typing.surface import Surface

PROJECT = Path(__file__).parents[1]
PROGRAM = PROJECT / "tests" / "typing" / "program.py"

# `Any` in what a program is given, by the kind of thing. What takes its values from JSON holds any of JSON's.
MAY_GIVE_ANY = {
    "actors of any class": (".actor_ref", "actor.Ref"),
    "proxies of actors of any class": ("RuntimeRef.proxy", "Proxied.proxy", "Handle.proxy", "SampleSource.proxy"),
    "arrays of any dtype, and lists nested like them": ("arrays.Array", "data.Tokens", "TensorData.tolist"),
    "what is awaited; the Any is what a loop sends": ("__await__", "APIFuture.coroutine"),
    "JSON": ("user_metadata", "AuditLogEntry.event_details", "SessionFailed.reason", "Config.__rich_repr__"),
    "functions of any signature": ("ProxiedMethod.shown",),
    "what another HTTP library made, and what a server said": ("Error.request", "Error.response", "Error.body"),
    "results of different futures": ("PykkaFuture.join", "DeadlineExceededError.future"),
    "token ids in whatever holds them": ("EncodedTextChunk.tokens",),
}


def has_any(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def test_the_typed_programs_use_every_public_name():
    text = "".join((PROJECT / "tests" / "typing" / name).read_text() for name in ("program.py", "expected_types.py"))
    assert not [name for name in ta.__all__ if not re.search(rf"\bta\.{name}\b", text)]


@pytest.fixture(scope="module")
def surface():
    return Surface()


def test_the_surface_is_what_a_program_reaches(surface):
    found = {name.removeprefix("tinker_actors.") for name in surface.names}
    assert {"clients.training.TrainingClient", "runtime.futures.APIFuture", "runtime.progress.Progress"} <= found
    assert {"clients.training_proxy.TrainingProxy", "events.records.SessionLost", "data.policy_datum"} <= found
    assert {"local_server", "local.process.LocalServer", "types.sampling.SampledSequence"} <= found
    assert not {"runtime.dispatcher.Dispatcher", "actors.service.Service", "actors.lane.work.Work"} & found


def test_nothing_that_a_program_is_given_is_of_any_type(surface):
    given = {member.name for member in surface.members if not member.inward and any(map(has_any, member.annotations))}
    allowed = {name: name.endswith(tuple(end for ends in MAY_GIVE_ANY.values() for end in ends)) for name in given}
    assert not {name for name, is_allowed in allowed.items() if not is_allowed}
    unused = [end for ends in MAY_GIVE_ANY.values() for end in ends if not any(name.endswith(end) for name in given)]
    assert not unused


def test_everything_a_program_calls_says_what_it_takes(surface):
    """A mapping's values may be anything; an argument may not, where a program fills it in."""
    ours = ("runtime.pykka_future.", "runtime.library_future.", "runtime.actor_ref.", "clients.proxy.", "errors.")
    bare = {
        member.name.removeprefix("tinker_actors.")
        for member in surface.members
        if member.inward and any(ast.unparse(each) == "Any" for each in member.annotations)
    }
    assert not {name for name in bare if not name.startswith(ours)} - {"local.faults.control.FaultControl.add"}


def test_the_typed_program_runs(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    ran = subprocess.run(
        [sys.executable, PROGRAM], check=False, cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["losses", "version", "samples", "score", "not"]


def test_the_wheel_says_that_the_package_has_types(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE", "tinker_actors"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, tmp_path / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('wheels'))"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "tinker_actors/py.typed" in names
    sources = {str(path.relative_to(PROJECT)) for path in (PROJECT / "tinker_actors").rglob("*.py")}
    assert sources == {name for name in names if name.endswith(".py")}


# ---------------------------------------------------------------- the judge of completeness

LEAKY = """
class Whole:
    def __init__(self) -> None:
        self.number: int = 1

class Leaky:
    def __init__(self) -> None:
        self.number = len("a") or None

    def items(self) -> list:
        return []

    def leak(self):
        return self

    def of(self) -> Leaky:
        return self
"""


def test_what_is_not_typed_is_found(tmp_path):
    package = tmp_path / "leaky"
    package.mkdir()
    (package / "py.typed").touch()
    (package / "__init__.py").write_text(f"from __future__ import annotations\n{LEAKY}")
    report = completeness.verify("leaky", tmp_path)
    count, missed = completeness.misses(report, {"leaky.Whole", "leaky.Leaky"})
    assert count > len(missed)
    assert set(missed) == {"leaky.Leaky.number", "leaky.Leaky.items", "leaky.Leaky.leak"}
    assert completeness.misses(report, {"leaky.Whole"}) == (3, {})
