"""`tinker-actors serve`: the embedded server in this terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinker_actors.cli.extras import require
from tinker_actors.errors import ConfigError
from tinker_actors.local import keys
from tinker_actors.local.launching import EXTRA, prepare

DEFAULT_PORT = 8000


def named_folder(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """Read `NAME=PATH` options.

    Raises:
        click.BadParameter: one has no name, no `=` or no path, or a name is given twice.
    """
    models: dict[str, Path] = {}
    for value in values:
        name, _equals, folder = value.partition("=")
        if not name or not folder:
            raise click.BadParameter(f"{value!r} is not NAME=PATH")
        if name in models:
            raise click.BadParameter(f"{name!r} is given twice")
        models[name] = Path(folder)
    return models


def keys_and_owners(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read `KEY=OWNER` options.

    Raises:
        click.BadParameter: one is not that, or given twice; it is not repeated, because it may be a key.
    """
    found: dict[str, str] = {}
    for value in values:
        try:
            key, owner = keys.key_and_owner(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if key in found:
            raise click.BadParameter(f"a key is given twice, the second time for {owner!r}")
        found[key] = owner
    return found


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, help="Port; 0 takes a free one.")
@click.option(
    "models",
    "--model",
    metavar="NAME=PATH",
    multiple=True,
    callback=named_folder,
    help="A further base model, from a folder. May be repeated.",
)
@click.option(
    "stand_ins",
    "--stand-in",
    metavar="NAME[,vocab=N]",
    multiple=True,
    help="A small random model under a real one's name, with its vocabulary size. May be repeated.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where checkpoints are kept; without it, in a temporary folder that goes with the server.",
)
@click.option(
    "--adopt", is_flag=True, help="Take in checkpoints in the data directory that its database does not list."
)
@click.option("--admin", is_flag=True, help="Have an admin endpoint, to change faults while the server runs.")
@click.option(
    "faults",
    "--fault",
    metavar="ENDPOINT:KIND[:FIELD=VALUE...]",
    multiple=True,
    help="What is to go wrong, e.g. optim_step:reply_lost:times=1. May be repeated.",
)
@click.option("--fault-seed", default=0, help="What the chances of faults depend on.")
@click.option(
    "key_files",
    "--api-key-file",
    metavar="FILE",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keys to ask for, a KEY=OWNER on each line; owners do not see each other's work. May be repeated.",
)
@click.option(
    "api_keys",
    keys.OPTION,
    metavar="KEY=OWNER",
    multiple=True,
    callback=keys_and_owners,
    help="One such key. It stays in the shell's history and is in the process list for a moment. May be repeated.",
)
@click.option("--jwt", is_flag=True, help="Tell clients to change their key for a token that expires.")
@click.option("--insecure", is_flag=True, help="Allow a host that other machines can reach. Nobody is asked for a key.")
@click.option(
    "allowed_hosts",
    "--allowed-host",
    metavar="NAME",
    multiple=True,
    help="A further name by which the server may be called, beside loopback's and --host; * for any. May be repeated.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error", "critical"]),
    default="warning",
    help="What goes to stderr.",
)
@click.pass_obj
def serve(
    arguments: list[str],
    host: str,
    port: int,
    models: dict[str, Path],
    stand_ins: tuple[str, ...],
    data_dir: Path | None,
    adopt: bool,
    admin: bool,
    faults: tuple[str, ...],
    fault_seed: int,
    key_files: tuple[Path, ...],
    api_keys: dict[str, str],
    jwt: bool,
    insecure: bool,
    allowed_hosts: tuple[str, ...],
    log_level: str,
) -> None:
    """Run the embedded server until Ctrl-C.

    It has the base model local/tiny, needs no GPU and no network, asks for a key only if it is given some, and keeps
    what clients save in files. Use it with ServiceClient(base_url=...) and the address it prints, or with the
    environment variable TINKER_BASE_URL. Keys may be in the environment variable TINKER_LOCAL_API_KEYS too, as a JSON
    object of keys and their owners.
    """
    require(EXTRA)
    prepare("tinker_actors", arguments, api_keys)
    from tinker_actors.local.serving import PortError  # noqa: PLC0415 - loads the engine and the HTTP server
    from tinker_actors.local.serving import serve as run  # noqa: PLC0415 - loads the engine and the HTTP server
    from tinker_actors.local.stand_ins import parse_stand_in  # noqa: PLC0415 - the same
    from tinker_actors.local.temporary import keep  # noqa: PLC0415 - the same

    try:
        asked_for = keys.take_keys(key_files)
        if data_dir is not None:
            keep(data_dir)
        run(
            host, port, models, data_dir,
            insecure=insecure, allowed_hosts=allowed_hosts, api_keys=asked_for, jwt=jwt,
            log_level=log_level, admin=admin, faults=faults, fault_seed=fault_seed,
            stand_ins=dict(map(parse_stand_in, stand_ins)), adopt=adopt,
            announce=lambda ready: _announce(ready, kept=data_dir is not None),
        )  # fmt: skip
    except PortError:
        raise  # what was asked for is right; another time it may be had
    except ConfigError as error:
        raise MisusedError(str(error)) from error
    except OSError as error:
        where = "a temporary folder" if data_dir is None else f"{data_dir} (--data-dir)"
        raise MisusedError(f"The data can't be kept in {where}: {error.strerror or error}.") from error


class MisusedError(click.ClickException):
    """The server can't be started as it was asked for."""

    exit_code = 2


def _announce(ready: dict[str, Any], *, kept: bool) -> None:
    click.echo(f"Serving at {ready['url']}")
    click.echo(f"Models: {', '.join(ready['models'])}")
    click.echo(f"Checkpoints: {ready['data_dir']}{'' if kept else ' (removed when the server stops; see --data-dir)'}")
    if "admin_token" in ready:
        click.echo(f"Admin: {ready['url']}/admin/faults with the header x-admin-token: {ready['admin_token']}")
    click.echo("Press Ctrl-C to stop.")
