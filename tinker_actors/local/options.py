"""Options: everything that can be said to an embedded server when it is started, declared once.

`tinker-actors serve` makes its options of the declaration, `local_server()` checks its arguments by it, and what it
comes to goes to the server's process in one piece. Nothing that is heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec

from tinker_actors.errors import ConfigError
from tinker_actors.local import keys
from tinker_actors.types.spelling import did_you_mean

Reader = Callable[[str], tuple[str, Any]]
"""Reads an entry of a mapping as it is written in a terminal; raises ValueError for what is none."""


class Option(msgspec.Struct, frozen=True):
    """How an option is offered.

    Attributes:
        help: what it does, for the list of options.
        flag: its name in a terminal; None where it is not offered there.
        metavar: what stands for its value there; None for the name of the value's type.
        read: for a mapping: reads an entry of it.
        secret: whether the value must not be repeated.
        in_terminal: the default there; None for the same one as elsewhere.
        in_python: whether it is an argument of `local_server`.
    """

    help: str
    flag: str | None = None
    metavar: str | None = None
    read: Reader | None = None
    secret: bool = False
    in_terminal: Any = None
    in_python: bool = True


def named_folder(text: str) -> tuple[str, Path]:
    """Read `NAME=PATH`.

    Raises:
        ValueError: it is not that.
    """
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise ValueError(f"{text!r} is not NAME=PATH")
    return name, Path(folder)


def parse_stand_in(text: str) -> tuple[str, int | None]:
    """Read `NAME[,vocab=N]`.

    Raises:
        ConfigError: it is not that.
    """
    name, comma, setting = text.partition(",")
    key, _, number = setting.partition("=")
    if not name or (comma and (key != "vocab" or not number.isdecimal() or int(number) < 1)):
        raise ConfigError(f"{text!r} is not NAME[,vocab=N].", advice="For example: Qwen/Qwen3-8B,vocab=151936")
    return name, int(number) if comma else None


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What a server is started with; each field's `Option` says what it does, and its default stands behind it."""

    host: Annotated[str, Option("Address to listen on.", "--host")] = "127.0.0.1"
    port: Annotated[
        int, msgspec.Meta(ge=0, le=65535), Option("Port; 0 takes a free one.", "--port", in_terminal=8000)
    ] = 0
    models: Annotated[
        Mapping[str, Path], Option("A further base model, from a folder.", "--model", "NAME=PATH", named_folder)
    ] = {}
    stand_ins: Annotated[
        Mapping[str, int | None],
        Option(
            "A small random model under a real one's name, with its vocabulary size.",
            "--stand-in",
            "NAME[,vocab=N]",
            parse_stand_in,
        ),
    ] = {}
    data_dir: Annotated[
        Path | None,
        Option(
            "Where checkpoints are kept; without it, in a temporary folder that goes with the server.",
            "--data-dir",
            "DIRECTORY",
        ),
    ] = None
    adopt: Annotated[
        bool, Option("Take in checkpoints in the data directory that its database does not list.", "--adopt")
    ] = False
    engine: Annotated[Literal["numpy", "ledger"], Option("What computes.")] = "numpy"
    limits: Annotated[Mapping[str, int | float], Option("Limits to set, by name.")] = {}
    admin: Annotated[
        bool, Option("Have an admin endpoint, to change faults while the server runs.", "--admin", in_python=False)
    ] = False
    faults: Annotated[
        tuple[str, ...],
        Option(
            "What is to go wrong, e.g. optim_step:reply_lost:times=1.",
            "--fault",
            "ENDPOINT:KIND[:FIELD=VALUE...]",
            in_python=False,
        ),
    ] = ()
    fault_seed: Annotated[int, Option("What the chances of faults depend on.", "--fault-seed")] = 0
    api_key_files: Annotated[
        tuple[Path, ...],
        Option(
            "Keys to ask for, a KEY=OWNER on each line; owners do not see each other's work.",
            "--api-key-file",
            "FILE",
            in_python=False,
        ),
    ] = ()
    api_keys: Annotated[
        Mapping[str, str],
        Option(
            "One such key. It stays in the shell's history and is in the process list for a moment.",
            keys.OPTION,
            "KEY=OWNER",
            keys.key_and_owner,
            secret=True,
        ),
    ] = {}
    jwt: Annotated[bool, Option("Tell clients to change their key for a token that expires.", "--jwt")] = False
    insecure: Annotated[
        bool, Option("Allow a host that other machines can reach. Nobody is asked for a key.", "--insecure")
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        Option(
            "A further name by which the server may be called, beside loopback's and --host; * for any.",
            "--allowed-host",
            "NAME",
        ),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], Option("What goes to stderr.", "--log-level")
    ] = "warning"
    until_eof: Annotated[bool, Option("Stop when stdin ends.", in_python=False)] = False

    def __repr__(self) -> str:
        return f"<ServerOptions {self.host}:{self.port}>"  # nothing else: keys are among them


class Field(NamedTuple):
    """An option with its place in `ServerOptions`.

    Attributes:
        name: the field.
        kind: its type.
        default: its default.
        option: how it is offered.
        most: of a number that is bounded: the largest; the smallest is 0 then.
    """

    name: str
    kind: Any
    default: Any
    option: Option
    most: int | None


def fields() -> list[Field]:
    """Return all options, in the order in which they are shown."""
    hints = get_type_hints(ServerOptions, include_extras=True)
    found = []
    for field in msgspec.structs.fields(ServerOptions):
        extras = hints[field.name].__metadata__
        (option,) = (extra for extra in extras if isinstance(extra, Option))
        most = next(
            (int(extra.le) for extra in extras if isinstance(extra, msgspec.Meta) and extra.le is not None), None
        )
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        found.append(Field(field.name, hints[field.name].__origin__, default, option, most))
    return found


def options_of(given: Mapping[str, Any]) -> ServerOptions:
    """Return the options that somebody gave as arguments; None stands for a default.

    Raises:
        TypeError: there is no such option.
        ConfigError: a value can't be what the option is to be.
    """
    known = [field.name for field in fields()]
    for name in given:
        if name not in known:
            raise TypeError(f"An embedded server has no option {name!r}{did_you_mean(name, known)}.")
    said = {name: value for name, value in given.items() if value is not None}
    try:
        return msgspec.convert(said, ServerOptions, dec_hook=_from_text)
    except (msgspec.ValidationError, TypeError) as error:
        # Its place in the options is told, never its value, which may be a key.
        raise ConfigError(f"An option of the embedded server can't be used: {error}.") from None


def encoded(options: ServerOptions) -> str:
    """Return options as a text for another process, without keys."""
    return msgspec.json.encode(msgspec.structs.replace(options, api_keys={}), enc_hook=str).decode()


def decoded(text: str) -> ServerOptions:
    """Return the options that a text holds.

    Raises:
        ConfigError: it holds none.
    """
    try:
        return msgspec.json.decode(text, type=ServerOptions, dec_hook=_from_text)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ConfigError(f"These are no options of an embedded server: {error}.") from None


def _from_text(kind: type[Any], value: Any) -> Any:
    return kind(value)
