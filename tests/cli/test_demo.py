from __future__ import annotations

import re
from pathlib import Path

import pytest

from .helpers import HANG, interrupt, is_running, line_with

pytestmark = pytest.mark.slow


def test_a_demo_that_learned_too_little_says_so_and_exits_with_1(spawn, tmp_path: Path):
    process = spawn("demo", "--steps", "6", "--words", "20", "--keep-data", str(tmp_path))
    pid = int(line_with(process, "Embedded server: ").split()[-1])
    out, said = process.communicate(timeout=HANG)
    assert process.returncode == 1
    assert not said
    assert "step    6 of 6: loss " in out
    assert re.search(r"Weights saved: tinker://\S+/weights/pig-latin\n", out)
    assert "Sampling: 240 samples by 16 threads" in out
    assert re.search(r"Loss per token: \d\.\d{3} in the first 5 steps, \d\.\d{4} in the last", out)
    assert re.search(r"Exactly right: +\d+\.\d% of 20 trained words\n +\d+\.\d% of 100 held-out words", out)
    assert re.findall("FAILED: ([^0-9]*)", out) == ["The loss fell from ", ""]
    assert "% of the trained words came out right, not 80%." in out
    assert "Done" not in out
    assert not is_running(pid)
    assert any(tmp_path.rglob("*pig-latin*"))


def test_ctrl_c_in_the_middle_of_training_leaves_nothing_running(spawn):
    process = spawn("demo")
    pid = int(line_with(process, "Embedded server: ").split()[-1])
    line_with(process, "step   50 of 500")
    assert is_running(pid)
    status, errors = interrupt(process)
    assert status == 130
    # What was under way is said in one line, and nothing else.
    assert re.fullmatch(
        r"(Closed with \d+ operations? \(.*\) unfinished; their futures failed\n)?\nInterrupted\.\n", errors
    )
    assert not is_running(pid)
