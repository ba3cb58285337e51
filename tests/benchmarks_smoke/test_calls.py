"""What a sample costs in calls of Python functions: the hot path does not grow unseen."""

from __future__ import annotations

from benchmarks.processes import run_client, stub
from benchmarks.variants.base import Spec

MOST = 145
"""Calls of the package's functions per sample. Whoever needs more raises this in the same commit, and says for what."""

SAMPLES, IN_FLIGHT = 600, 64


def test_a_sample_costs_no_more_calls_than_it_did():
    with stub("--workload", "S", "--hold-ms", "20", where=None) as url:
        spec = Spec("ours", url, in_flight=IN_FLIGHT, samples=SAMPLES, warm_up=2 * IN_FLIGHT)
        found = run_client("benchmarks.variants.calls", spec._asdict())
    assert found["right"] == SAMPLES + 2 * IN_FLIGHT
    assert found["server"]["requests"]["asample"] == SAMPLES + 2 * IN_FLIGHT
    by_function = found["by_function"]
    assert by_function["clients/source.py:SampleSource.sample"] == 1  # in the caller's thread
    assert by_function["actors/lane/submitting.py:Submitting._answered"] == 1  # in the lane's
    assert found["calls"] <= MOST, "\n".join(f"{count:7.2f} {name}" for name, count in by_function.items())
