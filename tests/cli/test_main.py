from __future__ import annotations

import subprocess
import sys

import click
import pytest

from tinker_actors.cli import app, main
from tinker_actors.cli.plain import plain_answer
from tinker_actors.errors import ConfigError
from tinker_actors.version import VERSION


def test_version_prints_the_installed_version(capsys: pytest.CaptureFixture[str]):
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"tinker-actors {VERSION} (Python 3.")


def test_help_lists_the_commands_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("demo", "serve", "version", "0 done", "1 failed", "2 wrong usage", "130"))


@pytest.mark.parametrize("command", ["demo", "serve", "version"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]):
    assert main([command, "--help"]) == 0
    assert f"Usage: tinker-actors {command}" in capsys.readouterr().out


def test_help_loads_neither_the_server_nor_what_draws_tables():
    script = (
        "import sys; from tinker_actors.cli import main; assert main(['--help']) == 0; "
        "print(sorted({'rich', 'uvicorn', 'starlette', 'tinker_actors.local.engine'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["serve", "--port", "70000"], "70000"),
        (["serve", "--model", "no-path"], "'no-path' is not NAME=PATH"),
        (["serve", "--model", "a=x", "--model", "a=y"], "'a' is given twice"),
        (["demo", "--steps", "0"], "--steps"),
        (["demo", "--words", "100000"], "words to train on"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("module", "words"), [("click", ["demo"]), ("rich", ["serve"]), ("uvicorn", ["demo"])])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    module: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert module in said
    assert "pip install 'tinker-actors[cli,local]'" in said


@pytest.mark.parametrize("module", ["click", "rich"])
@pytest.mark.parametrize(
    ("words", "said"), [(["version"], f"tinker-actors {VERSION} (Python 3."), (["--help"], "Usage:"), ([], "Usage:")]
)
def test_version_and_help_need_no_extra(
    module: str, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out.startswith(said)
    assert not told.err


def test_the_plain_help_has_all_commands():
    usage = plain_answer(["--help"])
    assert usage is not None
    assert all(f"\n  {name} " in usage for name in app.commands.commands)


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (ConfigError("Too dark.", advice="Switch on the light."), 1, "Error: Too dark. Switch on the light.\n"),
        (PermissionError(13, "Permission denied", "/secret"), 1, "Error: [Errno 13] Permission denied: '/secret'\n"),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
    ],
)
def test_each_way_to_fail_has_its_exit_status_and_its_line(
    raised: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    @click.command()
    def fail() -> None:
        raise raised

    monkeypatch.setitem(app.commands.commands, "fail", fail)
    assert main(["fail"]) == status
    assert capsys.readouterr().err == said
