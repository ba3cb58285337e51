"""What is kept of a benchmark's run, the page made of it, and settings as options."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import msgspec
import pytest

from benchmarks import results
from benchmarks.measure import ROOT
from benchmarks.options import add_settings, settings_from, strangers
from benchmarks.scenarios import known, load


def command_line(*arguments):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_what_is_kept_is_the_table_and_the_page_is_made_of_it(tmp_path):
    summary, page, figures = tmp_path / "summary.json", tmp_path / "results.md", tmp_path / "figures.json"
    keep = ["--summary", str(summary), "--results", str(page), "--json", str(figures)]
    done = command_line("import", "--pairs", "2", "--variants", "ours", "numpy", "--no-pin", *keep)
    assert done.returncode == 0, done.stderr
    kept = results.read(summary)["import"]
    assert "\n".join(kept.table) in done.stdout
    assert "\n".join(kept.table) in page.read_text()
    assert kept.values["ours.rss_mib"] > 1
    assert '"rounds":' not in summary.read_text()
    assert len(json.loads(figures.read_text())["import"]["rounds"]) == 2
    other = msgspec.structs.replace(kept, table=["of another scenario"])
    results.write(summary, {"first_sample": other, "import": kept})
    assert command_line("import", "--quick", "--variants", "ours", "--no-pin", *keep).returncode == 0
    again = results.read(summary)
    assert (again["first_sample"], again["import"].command) == (other, again["import"].command)
    assert again["import"] != kept
    assert "of another scenario" in page.read_text()


def test_the_page_in_the_repository_is_made_of_the_summary_beside_it():
    folder = ROOT / "docs" / "benchmarks"
    summary = results.read(folder / "summary.json")
    assert (folder / "results.md").read_text() == results.page(summary, pictures=True)
    assert len((folder / "summary.json").read_text().splitlines()) < 3000


def test_settings_of_all_scenarios_are_options():
    parser = argparse.ArgumentParser()
    add_settings(parser, {name: load(name) for name in known()})
    words = ["--levels", "8", "64", "--no-pin", "--minutes", "0.5", "--samples", "7", "--pairs", "3"]
    options = vars(parser.parse_args(words))
    sampling, soak = load("sampling"), load("soak")
    found = settings_from(sampling, options)
    assert (found.levels, found.pin, found.samples, found.pairs) == ((8, 64), False, 7, 3)
    assert settings_from(soak, options).minutes == 0.5
    assert settings_from(sampling, vars(parser.parse_args([]))) == sampling.SETTINGS
    assert strangers(options, [sampling]) == ["--minutes"]
    with pytest.raises(msgspec.ValidationError, match="--pairs"):
        settings_from(sampling, {"pairs": "many"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sampling", "--minutes", "3"], "--minutes"),
        (["sampling", "--no-such-option"], "--no-such-option"),
        (["sampling", "--pairs", "many"], "--pairs"),
        (["sampling", "--pairs", "0"], "--pairs"),
        (["--results", "page.md"], "--summary"),
    ],
)
def test_options_that_make_no_sense_are_refused(words, said):
    done = command_line(*words)
    assert done.returncode == 2
    assert said in done.stderr
