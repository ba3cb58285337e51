"""Options of the embedded server: declared once, and the same wherever they can be given."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

import tinker_actors as ta
from tinker_actors.cli.serve import serve
from tinker_actors.errors import ConfigError
from tinker_actors.local.options import ServerOptions, decoded, encoded, fields, options_of
from tinker_actors.local.process import LocalServer

FIELDS = {field.name: field for field in fields()}


def test_the_function_for_python_has_the_options_that_are_declared():
    arguments = dict(inspect.signature(ta.local_server).parameters)
    assert arguments.pop("start_timeout").default == 60.0
    declared = {name: field for name, field in FIELDS.items() if field.option.in_python}
    assert set(arguments) == set(declared)
    for name, argument in arguments.items():
        assert declared[name].default == ({} if argument.default is None and is_mapping(name) else argument.default)
        assert f"        {name}: " in ta.local_server.__doc__


def is_mapping(name):
    return isinstance(FIELDS[name].default, Mapping)


def test_the_terminal_has_the_options_that_are_declared_for_it():
    offered = {parameter.name: parameter for parameter in serve.params}
    assert list(offered) == [name for name, field in FIELDS.items() if field.option.flag is not None]
    command = serve.make_context("serve", [], obj=[])
    for name, value in command.params.items():
        option, default = FIELDS[name].option, FIELDS[name].default
        assert (value or None) == ((option.in_terminal or default) or None)


def test_words_in_a_terminal_become_options():
    words = ["--model", "a=/m", "--model", "b=x=y", "--stand-in", "c,vocab=7", "--stand-in", "d", "--fault", "x:y"]
    words += [
        "--port",
        "0",
        "--data-dir",
        "/d",
        "--jwt",
        "--allowed-host",
        "h",
        "--api-key",
        "k=e=o",
        "--log-level",
        "info",
    ]
    given = ServerOptions(**serve.make_context("serve", words, obj=[]).params)
    assert given == ServerOptions(
        models={"a": Path("/m"), "b": Path("x=y")},
        stand_ins={"c": 7, "d": None},
        faults=("x:y",),
        data_dir=Path("/d"),
        jwt=True,
        allowed_hosts=("h",),
        api_keys={"k=e": "o"},
        log_level="info",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "a"], "NAME=PATH"),
        (["--model", "a=b", "--model", "a=c"], "'a' is given twice"),
        (["--stand-in", "x,vocab=0"], "vocab"),
        (["--api-key", "secret"], "KEY=OWNER"),
        (["--api-key", "secret=a", "--api-key", "secret=b"], "twice"),
        (["--port", "65536"], "65536"),
        (["--log-level", "loud"], "loud"),
    ],
)
def test_words_that_are_none_are_refused(words, said):
    with pytest.raises(click.BadParameter, match=said) as caught:
        serve.make_context("serve", words, obj=[])
    assert "secret" not in caught.value.message


def test_options_go_to_another_process_without_keys():
    options = options_of({
        "models": {"a": "/m"}, "limits": {"body_bytes": 10, "hold_seconds": 0.5}, "api_keys": {"secret": "me"},
        "data_dir": "/d", "allowed_hosts": ["h"], "jwt": None, "stand_ins": {"x": None},
    })  # fmt: skip
    assert options.models == {"a": Path("/m")}
    assert "secret" not in encoded(options) + repr(options)
    again = decoded(encoded(options))
    assert (again.models, again.data_dir, again.allowed_hosts) == ({"a": Path("/m")}, Path("/d"), ("h",))
    assert [type(value) for value in again.limits.values()] == [int, float]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": "8000"}, "port"),
        ({"port": 70000}, "port"),
        ({"engine": "steam"}, "engine"),
        ({"log_level": "loud"}, "log_level"),
        ({"models": ["a"]}, "models"),
        ({"data_dir": 3}, "data_dir|path"),
        ({"api_keys": {"secret": 1}}, "api_keys"),
    ],
)
def test_arguments_that_can_not_be_are_refused_where_they_are_given(given, said):
    with pytest.raises(ConfigError, match=said) as caught:
        LocalServer(**given)
    assert "secret" not in str(caught.value)


def test_there_is_no_other_option():
    with pytest.raises(TypeError, match=r"no option 'prot' \(did you mean 'port'"):
        LocalServer(prot=3)
    with pytest.raises(ConfigError, match="no options"):
        decoded("--host x")


def test_a_limit_that_there_is_not_is_named(tmp_path):
    command = [sys.executable, "-m", "tinker_actors.local", encoded(ServerOptions(limits={"body_bites": 1}))]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    assert done.returncode == 1
    assert "body_bites" in done.stderr
    assert "Traceback" not in done.stderr
