"""`tinker-actors serve`: the embedded server in this terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from tinker_actors.cli.extras import require
from tinker_actors.errors import ConfigError
from tinker_actors.local.launching import EXTRA, prepare
from tinker_actors.local.options import Field, Option, ServerOptions, fields


def entries(option: Option) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], dict[str, Any]]:
    """Return what reads the words of an option that gives the entries of a mapping, one each.

    It raises `click.BadParameter` for a word that is no entry, or one whose name was there before; secrets are not
    repeated.
    """

    def read(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, Any]:
        assert option.read is not None
        found: dict[str, Any] = {}
        for word in words:
            try:
                name, value = option.read(word)
            except ValueError as error:
                raise click.BadParameter(str(error)) from None
            if name in found:
                again = (
                    f"a key is given twice, the second time for {value!r}"
                    if option.secret
                    else f"{name!r} is given twice"
                )
                raise click.BadParameter(again)
            found[name] = value
        return found

    return read


def _as_click(field: Field) -> click.Option:
    kind, option = field.kind, field.option
    assert option.flag is not None
    given: dict[str, Any] = {"help": option.help, "metavar": option.metavar}
    if get_origin(kind) is tuple or option.read is not None:
        given |= {"multiple": True, "help": f"{option.help} May be repeated."}
        kind = get_args(kind)[0] if option.read is None else str
    else:
        given["default"] = field.default if option.in_terminal is None else option.in_terminal
    if option.read is not None:
        given["callback"] = entries(option)
    typed = _type_of(kind) if field.most is None else {"type": click.IntRange(0, field.most)}
    return click.Option([field.name, option.flag], show_default=True, **given, **typed)


def _type_of(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"is_flag": True}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind))}
    if kind == Path | None:
        return {"type": click.Path(file_okay=False, path_type=Path)}
    if kind is Path:
        return {"type": click.Path(dir_okay=False, path_type=Path)}
    return {"type": kind}


@click.pass_obj
def _serve(arguments: list[str], /, **given: Any) -> None:
    """Run the embedded server until Ctrl-C.

    It has the base model local/tiny, needs no GPU and no network, asks for a key only if it is given some, and keeps
    what clients save in files. Use it with ServiceClient(base_url=...) and the address it prints, or with the
    environment variable TINKER_BASE_URL. Keys may be in the environment variable TINKER_LOCAL_API_KEYS too, as a JSON
    object of keys and their owners.
    """
    require(EXTRA)
    options = ServerOptions(**given)
    try:
        prepare("tinker_actors", arguments, options.api_keys)
    except ConfigError as error:
        raise MisusedError(str(error)) from error
    from tinker_actors.local.serving import PortError  # noqa: PLC0415 - loads the engine and the HTTP server
    from tinker_actors.local.serving import serve as run  # noqa: PLC0415 - loads the engine and the HTTP server
    from tinker_actors.local.temporary import keep  # noqa: PLC0415 - the same

    kept = options.data_dir is not None
    try:
        if options.data_dir is not None:
            keep(options.data_dir)
        run(options, announce=lambda ready: _announce(ready, kept=kept))
    except PortError:
        raise  # what was asked for is right; another time it may be had
    except ConfigError as error:
        raise MisusedError(str(error)) from error
    except OSError as error:
        where = "a temporary folder" if options.data_dir is None else f"{options.data_dir} (--data-dir)"
        raise MisusedError(f"The data can't be kept in {where}: {error.strerror or error}.") from error


class MisusedError(click.ClickException):
    """The server can't be started as it was asked for."""

    exit_code = 2


serve = click.Command(
    "serve",
    callback=_serve,
    help=_serve.__doc__,
    params=[_as_click(field) for field in fields() if field.option.flag is not None],
)
"""The command; its options are those of the declaration that a terminal offers."""


def _announce(ready: Mapping[str, Any], *, kept: bool) -> None:
    click.echo(f"Serving at {ready['url']}")
    click.echo(f"Models: {', '.join(ready['models'])}")
    click.echo(f"Checkpoints: {ready['data_dir']}{'' if kept else ' (removed when the server stops; see --data-dir)'}")
    if "admin_token" in ready:
        click.echo(f"Admin: {ready['url']}/admin/faults with the header x-admin-token: {ready['admin_token']}")
    click.echo("Press Ctrl-C to stop.")
