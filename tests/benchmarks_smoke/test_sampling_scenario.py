"""The benchmarks of sampling keep working, and refuse to compare what is not comparable."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys

import pytest

from benchmarks import targets
from benchmarks.measure import ROOT
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import (
    SCENARIOS,
    first_sample,
    growth,
    importing,
    known,
    load,
    profile,
    sampling,
    settings_for,
)
from benchmarks.variants.identity import wrong

pytestmark = pytest.mark.slow

VARIANTS = ("ours", "urllib3_threads", "raw_sockets", "raw_bytes")
SMALL = ["--pairs", "1", "--samples", "8", "--levels", "2", "--hold-ms", "1", "--no-pin"]
SAMPLES = 8 + 16


def silent(_):
    """Progress nobody reads."""


def command_line(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of the smallest run there is: real processes, real sockets."""
    file = tmp_path_factory.mktemp("bench") / "folder" / "report.json"
    done = command_line("sampling", *SMALL, "--variants", *VARIANTS, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "urllib3 in threads" in done.stdout
    return json.loads(file.read_text())["sampling"]


def first_round(report):
    return copy.deepcopy(report["levels"][0]["rounds"][0])


def test_a_report_says_where_it_was_made_and_how(report):
    assert report["machine"]["cores"] >= 1
    assert report["versions"]["urllib3"]
    assert "--pairs 1" in report["command"]
    assert report["settings"]["levels"] == [2]


def test_every_sample_of_every_variant_reached_the_server_once(report):
    results = first_round(report)
    assert tuple(results) == VARIANTS
    for result in results.values():
        assert result["figures"]["right"] == result["server"]["requests"]["asample"] == SAMPLES
        assert result["figures"]["cpu_per_1000"] > 0
        assert result["figures"]["p50_ms"] >= 1


def test_ratios_are_those_of_the_rounds(report):
    summary = report["levels"][0]["summary"]
    results = first_round(report)
    expected = results["ours"]["figures"]["cpu_per_1000"] / results["raw_bytes"]["figures"]["cpu_per_1000"]
    assert summary["ratios"]["raw_bytes"]["median"] == pytest.approx(expected)
    assert sampling.values(report)["2.cpu.raw_bytes"] == pytest.approx(expected)
    assert "ours" not in summary["ratios"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_that_is_another_one_is_refused(report, variant):
    results = first_round(report)
    assert wrong(variant, results[variant], samples=SAMPLES, completions=False) == ""
    for name, result in results.items():
        if name != variant:
            assert "it is" in wrong(variant, result, samples=SAMPLES, completions=False)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda result: result["figures"].update(right=SAMPLES - 1), "23 of 24 samples were right"),
        (lambda result: result["server"]["requests"].update(asample=SAMPLES + 1), "the server saw"),
        (lambda result: result["server"]["requests"].update(retrieve_future=SAMPLES - 1), "the server saw"),
        (lambda result: result["server"]["requests"].update(retrieve_futures=1), "asked for completions"),
        (lambda result: result["server"]["faults"].update({"asample resent": 1}), "asample resent"),
        (lambda result: result["server"].update(user_agents={"curl": 2}), "curl"),
        (lambda result: result["server"]["results"].update(protobuf=3), "results as"),
    ],
)
def test_what_the_server_saw_makes_a_run_invalid(report, change, complaint):
    result = first_round(report)["raw_sockets"]
    change(result)
    assert complaint in wrong("raw_sockets", result, samples=SAMPLES, completions=False)


def test_a_missed_target_is_said_with_the_amount_and_a_met_one_is_not():
    assert targets.missed("sampling", {"64.cpu.raw_sockets": 2.4, "400.speed.official": 13.0}) == []
    missed = targets.missed("sampling", {"64.cpu.raw_sockets": 5.0, "400.speed.official": 6.0, "64.cpu.official": 0.01})
    assert len(missed) == 2
    assert "CPU at 64 in flight, ours / raw sockets: 5, and the target is at most 2.5 (100% off)" in missed
    assert any("at least 12 (50% off)" in sentence for sentence in missed)


def test_a_scenario_finds_what_its_report_misses(report):
    missing = {**report, "levels": copy.deepcopy(report["levels"])}
    missing["levels"][0].update(name="64")
    missing["levels"][0]["summary"]["ratios"]["raw_sockets"]["median"] = 99.0
    assert targets.missed("sampling", sampling.values(report)) == []
    assert len(targets.missed("sampling", sampling.values(missing))) == 1


def test_a_profile_counts_the_innermost_of_our_files_and_leaves_setting_up_out():
    counts = profile.layers(
        [
            "<module> (benchmarks/variants/run.py:60);SampleSource.sample (tinker_actors/clients/source.py:9) 3",
            "run (tinker_actors/runtime/actor.py:1);f (tinker_actors/actors/lane/polling.py:2);x (random.py:1) 2",
            "<module> (a.py:1);_find_and_load (<frozen importlib._bootstrap>:1);<module> (tinker_actors/errors.py:1) 9",
            "run (tinker_actors/runtime/actor.py:1) 1",
            "wait (threading.py:1) 5",
        ]
    )
    assert counts == {
        "sample(): checks and budget": 3,
        "the lane: order, limits, polls": 2,
        "waking up: epoll, inbox, bell": 1,
    }
    with pytest.raises(RunFailedError, match="no layer"):
        profile.layers(["f (tinker_actors/unheard_of/x.py:1) 1"])


def test_every_file_of_the_client_is_in_a_layer():
    package = ROOT / "tinker_actors"
    for room in ("actors", "clients", "protocol", "runtime", "types"):
        for file in (package / room).rglob("*.py"):
            assert profile.layers([f"f (tinker_actors/{file.relative_to(package)}:1) 1"]).total() == 1


def test_every_target_belongs_to_a_scenario_that_there_is():
    assert {target.scenario for target in targets.TARGETS} <= set(known())


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_what_one_must_have(name):
    scenario = load(name)
    for needed in ("run", "values", "table", "picture"):
        assert callable(getattr(scenario, needed))
    assert settings_for(scenario, {"pairs": 3, "no_such_option": 1}).pairs == 3
    assert settings_for(scenario, {"pairs": None}) == scenario.SETTINGS


def test_an_unknown_scenario_and_a_client_that_can_not_be_run_are_refused():
    done = command_line("no_such_scenario")
    assert done.returncode == 2
    assert "no_such_scenario" in done.stderr
    done = command_line("sampling", *SMALL, "--variants", "official", "--official-python", "/nowhere/python")
    assert done.returncode == 2
    assert "/nowhere/python" in done.stderr


def test_growth_is_judged_beside_the_base():
    def level(name, cpu, memory):
        figures = {"cpu_per_1000": cpu, "pending_kib": memory}
        ours = {it: {"median": value, "min": value, "max": value} for it, value in figures.items()}
        return {"name": name, "summary": {"variants": {"ours": ours}, "ratios": {}, "speed_ratios": {}}}

    levels = [level("4", 1.0, 9.0), level("8", 1.2, 9.0), level("4 held", 9.0, 10.0), level("8 held", 9.0, 14.0)]
    report = {"settings": {"levels": [4, 8], "base": 4}, "levels": levels}
    found = growth.values(report)
    assert found["8.cpu_growth"] == pytest.approx(1.2)
    assert found["8.memory_growth"] == pytest.approx(1.4)


def test_imports_are_measured_in_rounds():
    settings = settings_for(importing, {"pairs": 1, "variants": ("ours", "numpy", "nothing"), "pin": False})
    report = importing.run(settings, silent)
    summary = report["summary"]
    assert summary["nothing"]["rss_mib"]["median"] < summary["ours"]["rss_mib"]["median"]
    assert summary["nothing"]["modules"]["median"] < summary["ours"]["modules"]["median"]
    assert importing.values(report)["time.numpy"] > 0
    assert "numpy" in importing.table(report)


def test_a_first_sample_is_timed_from_outside():
    settings = settings_for(first_sample, {"pairs": 1, "variants": ("ours", "numpy"), "pin": False, "hold_ms": 30.0})
    report = first_sample.run(settings, silent)
    assert report["summary"]["ours"]["wall_ms"]["median"] > 30.0
    assert first_sample.values(report)["time.numpy"] > 0
    with pytest.raises(RunFailedError, match="/nowhere/python"):
        first_sample.run(
            settings_for(first_sample, {"variants": ("official",), "official_python": "/nowhere/python"}), silent
        )


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="pictures need matplotlib")
def test_a_report_has_a_picture(report, tmp_path):
    sampling.picture(report, tmp_path / "sampling.svg")
    drawn = (tmp_path / "sampling.svg").read_bytes()
    assert b"<svg" in drawn
    sampling.picture(report, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == drawn
