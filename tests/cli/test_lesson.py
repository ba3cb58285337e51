from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tinker_actors.cli.fine_tuning import Step
from tinker_actors.cli.lesson import Plan, shortcomings
from tinker_actors.cli.showing import Example, Stage

PLAN = Plan()


@pytest.mark.parametrize(
    ("losses", "accuracy", "said"),
    [
        ([5.0] * 5 + [2.0] + [1.0] * 5, 0.8, []),
        ([5.0] * 5 + [1.1] * 5, 0.8, ["The loss fell from 5.000 to 1.100, which is not 5-fold."]),
        ([5.0] * 5 + [0.1] * 5, 0.79, ["79.0% of the trained words came out right, not 80%."]),
        ([5.0] * 5 + [float("nan")] * 5, float("nan"), ["The loss", "nan% of"]),
        ([3.0], 0.0, ["The loss", "0.0% of"]),
    ],
)
def test_the_verdict_names_what_fell_short(losses: list[float], accuracy: float, said: list[str]):
    found = shortcomings(PLAN, losses, accuracy)
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said, strict=True))


def test_the_exit_status_follows_the_verdict():
    assert Stage(Console(file=io.StringIO())).verdict([]) == 0
    assert Stage(Console(file=io.StringIO())).verdict(["It rained."]) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_step_loss_and_speed_on_a_terminal_and_elsewhere(*, terminal: bool):
    out = io.StringIO()
    stage = Stage(Console(file=out, force_terminal=terminal, width=120))
    with stage.training(20) as progress:
        for number in range(1, 21):
            progress.advance(Step(number, 0.25, 100))
    text = out.getvalue()
    assert "loss 0.2500 per token" in text
    assert "tokens/s" in text
    assert ("20/20" if terminal else "step   20 of 20") in text
    assert terminal or text.count("\n") == 11


def test_what_an_untrained_model_says_does_not_upset_the_terminal():
    out = io.StringIO()
    stage = Stage(Console(file=out, width=120))
    stage.show_examples([Example("a", True, " away\n", "\x1b[31m[bold]\N{REPLACEMENT CHARACTER}駯", " away\n")])
    text = out.getvalue()
    assert "?[31m[bold]??" in text
    assert "right" in text
    assert "\x1b" not in text


def test_where_the_weights_are_is_said_in_one_line():
    out = io.StringIO()
    stage = Stage(Console(file=out, width=20))
    stage.saved("tinker://a-long-session-id:train:0/weights/pig-latin", Path("/kept/here"))
    assert "tinker://a-long-session-id:train:0/weights/pig-latin\n" in out.getvalue()
    assert "tinker-actors serve --data-dir /kept/here" in out.getvalue()
