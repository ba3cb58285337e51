"""The scenarios of behaviour keep working, and each of them can fail."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys

import pytest

from benchmarks import targets
from benchmarks.behaviour import SCENARIOS, capacity, event_loop, lanes, priority, soak, training
from benchmarks.behaviour.launching import run_client, stub
from benchmarks.measure import ROOT
from benchmarks.processes import RunFailedError, stub_stats
from benchmarks.scenarios import load
from benchmarks.stub.capacity_queue import CapacityQueue
from benchmarks.stub.faults import FAULTS, Faults

pytestmark = [pytest.mark.slow, pytest.mark.alone]  # most of it checks who got how much of the processor

QUIET = {"pairs": 1, "pin": False}


def silent(_):
    """Progress nobody reads."""


def missed(name, report):
    """What is said of the targets that a report misses."""
    return targets.missed(name, load(name).values(report))


# ---------------------------------------------------------------- the stub


def test_a_queue_keeps_a_few_waiting_and_refuses_the_rest():
    begun = []
    queue = CapacityQueue(2, 1, begun.append)
    assert [queue.offer(n) for n in range(4)] == [True, True, True, False]
    assert (begun, queue.running, queue.waiting) == ([0, 1], 2, 1)
    queue.finished()
    assert (begun, queue.running, queue.waiting) == ([0, 1, 2], 2, 0)
    queue.finished()
    assert queue.running == 1


def test_faults_come_as_often_as_they_should_and_only_around_samples():
    faults = Faults(0.1, seed=3)
    drawn = [faults.draw("asample") for _ in range(10_000)]
    assert {kind for kind in drawn if kind} == set(FAULTS["asample"])
    assert 0.08 < sum(kind is not None for kind in drawn) / len(drawn) < 0.12
    assert {faults.draw("session_heartbeat") for _ in range(100)} == {None}
    assert {Faults(0.0, seed=3).draw("asample") for _ in range(100)} == {None}


def test_every_scenario_can_be_loaded_by_its_name():
    for name in SCENARIOS:
        scenario = load(name)
        assert scenario.__doc__
        assert all(callable(getattr(scenario, part)) for part in ("run", "values", "table", "picture"))


# ---------------------------------------------------------------- capacity


def test_capacity_is_measured():
    settings = capacity.Settings(places=(4,), fixed=(1.0,), warm_up=0.5, seconds=1.0, **QUIET)
    report = capacity.run(settings, silent)
    assert report["levels"][0]["best"] == 4
    assert report["levels"][0]["summary"]["kinds"][capacity.FIXED]["throughput"]["median"] > 0
    assert "adaptive" in capacity.table(report)
    assert len(capacity.values(report)) == 2


def test_a_fixed_limit_above_the_capacity_is_refused_too_often():
    with stub(places=4, waiting=2) as url:
        spec = {"url": url, "cores": [], "offered": 32, "tokens": 50, "warm_up": 0.2, "seconds": 0.8}
        result = run_client("offering", {**spec, "adaptive": False, "limit": 16})
    judged = capacity.judge(result, 0.2)
    assert judged["rejected_share"] > 0.05
    slow = {**judged, "throughput": 1.0}
    fast = {**judged, "throughput": 2.0}
    level = {"places": 8, "summary": capacity.summarize([{capacity.ADAPTIVE: slow, capacity.FIXED: fast}])}
    assert len(missed("capacity", {"levels": [level]})) == 2
    with pytest.raises(RunFailedError, match="configured"):
        capacity._check_differ({capacity.ADAPTIVE: judged, capacity.FIXED: judged}, 16)


# ---------------------------------------------------------------- priority


def test_rollouts_beside_evaluations_are_measured_and_growth_is_missed():
    settings = priority.Settings(
        servers=("capacity",), places=4, rollout_ms=20, evals=40, warm_up=0.2, seconds=0.8, **QUIET
    )
    report = priority.run(settings, silent)
    pair = report["levels"][0]["pairs"][0]
    assert pair[priority.ALONE]["counts"]["eval"] == 0
    assert pair[priority.BESIDE]["server"]["samples"]["accepted"] > pair[priority.BESIDE]["counts"]["rollout"]
    assert "beside" in priority.table(report)
    grown = copy.deepcopy(pair)
    grown[priority.BESIDE]["p95"] = 1.2 * grown[priority.ALONE]["p95"]
    grown[priority.BESIDE]["p50"] = grown[priority.ALONE]["p50"]
    said = missed("priority", {"levels": [{"server": "capacity", "summary": priority.summarize([grown])}]})
    assert [sentence.split(" ")[0] for sentence in said] == ["p95"]


# ---------------------------------------------------------------- lanes


def test_steps_and_heartbeats_are_timed():
    report = lanes.run(
        lanes.Settings(kinds=("streaming",), samples=100, steps=2, seconds=0.4, heartbeat=0.15, **QUIET), silent
    )
    result = report["kinds"]["streaming"]
    assert 0 < result["steps"]["beside"]["forward_backward"]["p50"] <= result["steps"]["beside"]["optim_step"]["max"]
    assert result["heartbeats"]["count"] >= 2
    assert "slowest" in lanes.table(report)


def test_late_steps_and_heartbeats_are_missed():
    step = {"forward_backward": 51.0, "optim_step": 52.0}
    burnt = {"began": 100.0, "ended": 110.0, "cpu_seconds": 9.0}
    result = {"alone": [step], "beside": [step], "burnt": burnt, "heartbeats": [99.5, 100.5, 103.0, 109.9]}
    judged = lanes.judge(result, heartbeat=1.0)
    assert judged["heartbeats"]["latest_by"] == pytest.approx(5.9)
    assert len(missed("lanes", {"kinds": {"held": judged}})) == 2
    silence = lanes.judge({**result, "heartbeats": []}, heartbeat=1.0)
    assert silence["heartbeats"]["latest_by"] == pytest.approx(9.0)


# ---------------------------------------------------------------- asyncio


def test_waiting_in_a_loop_and_in_a_thread_is_measured():
    settings = event_loop.Settings(samples=50, stream_ms=300, ways=event_loop.WAYS[:1], **QUIET)
    report = event_loop.run(settings, silent)
    pair = report["levels"][0]["pairs"][0]
    assert pair[event_loop.LOOP]["right"] == pair[event_loop.THREAD]["right"] == 50
    assert pair[event_loop.LOOP]["turns_per_second"] >= pair[event_loop.LOOP]["wakes_per_second"] > 0
    assert "wake-ups/s" in event_loop.table(report)
    busy = copy.deepcopy(report)
    busy["levels"][0]["summary"]["wakes_per_second"]["median"] = 101.0
    busy["levels"][0]["summary"]["more_threads"][event_loop.LOOP]["median"] = 50
    assert len(missed("asyncio", busy)) == 2


# ---------------------------------------------------------------- training


def test_a_training_step_is_measured_in_parts():
    report = training.run(training.Settings(datums=4, tokens=16, steps=2, beside=False, **QUIET), silent)
    assert [level["inputs"] for level in report["levels"]] == ["numpy", "lists"]
    for level in report["levels"]:
        run = level["pairs"][0][training.OURS]
        assert run["total"] > 0
        assert run["client"].startswith("tinker_actors.")
    assert "CPU ms per step" in training.table(report)
    assert training.values(report) == {}  # without the other there is no ratio


def test_a_dear_step_is_missed_and_another_clients_run_is_refused():
    def one(total):
        return {"total": total, "parts": dict.fromkeys(training.PARTS, total / 3), training.LISTS: 1.0}

    summary = training.summarize([{training.OURS: one(3.0), training.OFFICIAL: one(10.0)}])
    levels = [{"inputs": inputs, "summary": summary} for inputs in ("numpy", "lists")]
    (said,) = missed("training", {"levels": levels})
    assert "from numpy" in said
    settings = training.Settings(datums=1, tokens=2, steps=1)
    server = {"training": {"target tokens": 4, "datums": 2}}
    training._check(training.OURS, {"client": "tinker_actors.x", "read": 2}, server, settings)
    for change in ({"client": "tinker.x"}, {"read": 1}):
        with pytest.raises(RunFailedError):
            training._check(training.OURS, {"client": "tinker_actors.x", "read": 2, **change}, server, settings)


# ---------------------------------------------------------------- soak


def test_every_sample_survives_a_bad_network_and_the_command_line_says_so(tmp_path):
    file = tmp_path / "soak.json"
    options = ["--minutes", "0.017", "--rate", "60", "--sample-ms", "20", "--faults", "0.05", "--no-pin"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "soak", *options, "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "samples" in done.stdout
    report = json.loads(file.read_text())["soak"]
    assert report["machine"]["cores"] >= 1
    assert report["settings"]["rate"] == 60
    assert sum(report["injected"].values()) > 0
    assert (report["lost"], report["wrong"], report["failed"]) == (0, 0, {})
    assert report["right"] == report["submitted"] >= 50


def test_growth_is_told_from_noise():
    when = [float(second) for second in range(300)]
    noise = [math.sin(second * 1.7) for second in when]
    flat = soak.line(when, [60 + 2 * wave for wave in noise])
    leaking = soak.line(when, [60 + 2 * wave + second / 20 for second, wave in zip(when, noise, strict=True)])
    assert not soak.grows("rss_mib", flat)
    assert soak.grows("rss_mib", leaking)
    assert leaking["slope_per_hour"] == pytest.approx(180, rel=0.1)


def test_a_lost_sample_and_a_leak_are_missed():
    lines = {"rss_mib": {"growth": 40.0, "slope_per_hour": 800.0}}
    report = {"grows": ["rss_mib"], "lines": lines, "lost": 1, "submitted": 10, "wrong": 0, "failed": {"X": 2}}
    assert len(missed("soak", report)) == 2
    assert missed("soak", {**report, "grows": [], "lost": 0, "failed": {}}) == []


# ---------------------------------------------------------------- the stub's counts


def test_the_stub_says_what_it_saw():
    with stub(places=1, waiting=0) as url:
        stats = stub_stats(url)
    assert stats["samples"] == {}
    assert stats["requests"] == {}
