"""The benchmark keeps working, and refuses to compare what is not comparable."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import RunFailedError
from benchmarks.scenarios import sampling

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of the smallest run there is: real processes, real sockets."""
    file = tmp_path_factory.mktemp("bench") / "report.json"
    command = ["--pairs", "1", "--samples", "8", "--in-flight", "2", "--hold-ms", "1", "--no-pin", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "urllib3 in threads" in done.stdout
    return json.loads(file.read_text())


def level(report):
    return report["scenarios"]["sampling"]["levels"][0]


def test_report_says_where_it_was_made_and_how(report):
    assert report["machine"]["cores"] >= 1
    assert report["versions"]["urllib3"]
    assert "--pairs 1" in report["command"]


def test_every_sample_of_both_variants_reached_the_server_once(report):
    for result in level(report)["pairs"][0].values():
        assert result["figures"]["right"] == result["server"]["requests"]["asample"] == 8 + 16
        assert result["figures"]["cpu_per_1000"] > 0


def test_a_pair_of_twice_the_same_client_is_refused(report):
    pair = copy.deepcopy(level(report)["pairs"][0])
    sampling._check_differ(pair)
    pair[sampling.OTHER] = pair[sampling.OURS]
    with pytest.raises(RunFailedError, match="not what they should be"):
        sampling._check_differ(pair)


def test_a_wrong_sample_makes_a_run_invalid(report):
    result = copy.deepcopy(level(report)["pairs"][0][sampling.OURS])
    sampling._check_right(sampling.OURS, result, 24)
    result["figures"]["right"] -= 1
    with pytest.raises(RunFailedError, match="23 of 24 samples were right"):
        sampling._check_right(sampling.OURS, result, 24)


def test_check_names_the_levels_at_which_ours_is_not_cheaper():
    levels = [{"in_flight": n, "summary": {"ratio": {"median": ratio}}} for n, ratio in ((1, 0.9), (2, 1.0), (3, 1.1))]
    assert sampling.too_dear({"levels": levels}) == [2, 3]
