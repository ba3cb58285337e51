"""Every Python block of the README and the docs runs as pasted, and every program in `docs/examples`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def test_the_readme_has_an_example():
    assert any("README" in block.id for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs_as_pasted(block, tmp_path):
    script = tmp_path / "pasted.py"
    script.write_text(block)
    run(script, tmp_path)


def test_the_readme_shows_whatever_the_model_may_say():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    scope: dict = {}
    exec(re.search(r"def text.*?\n\n\n", code[1], re.DOTALL)[0], scope)
    assert scope["text"]([*b"7", 256, 257, 258, 259, 0xFF]) == "7\N{REPLACEMENT CHARACTER}"


def test_a_program_beside_the_clone_imports_the_package_and_not_the_clones_folder(tmp_path):
    """As the Makefile installs it, by a path: a folder without `__init__.py` is taken only if there is nothing else."""
    installs = re.findall(r"--editable|\$\(EDITABLE\)", (ROOT / "Makefile").read_text())
    assert installs.count("--editable") == 1, "where EDITABLE is set"
    assert len(installs) > 3
    (tmp_path / "tinker_actors").mkdir()
    script = tmp_path / "beside.py"
    script.write_text("import tinker_actors\nprint(tinker_actors.ServiceClient)\n")
    assert "ServiceClient" in run(script, tmp_path).stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program_runs(program, tmp_path):
    assert run(program, tmp_path).stdout


def test_a_program_that_learns_gets_better(tmp_path):
    lines = run(EXAMPLES / "rl_thread_pool.py", tmp_path).stdout.splitlines()
    scores = [float(line.rpartition(": ")[2]) for line in lines if line.startswith("evaluation")]
    assert scores[-1] > scores[0] + 0.2


def test_a_program_of_actors_gets_better(tmp_path):
    lines = run(EXAMPLES / "actor_program.py", tmp_path).stdout.splitlines()
    before, after = (float(line.rpartition(": ")[2]) for line in lines if line.startswith("evaluation"))
    assert after > before + 0.2


def test_a_program_that_bounds_the_age_of_its_rollouts_trains_on_none_that_are_older(tmp_path):
    lines = run(EXAMPLES / "asyncio_rollouts.py", tmp_path).stdout.splitlines()
    ages = [int(line.split()[1]) - 1 - int(line.rpartition(" ")[2]) for line in lines if line.startswith("weights")]
    assert len(ages) == 6
    assert max(ages) <= 2


def run(script, folder):
    """Run a program where nothing else is; return how it went."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done
