"""`python -m tinker_actors.local`: the embedded server as a program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tinker_actors.errors import TinkerError
from tinker_actors.local import keys
from tinker_actors.local.keys import take_keys
from tinker_actors.local.launching import INSTALL, prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is stopped. Returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        prepare("tinker_actors.local", given, dict(options.api_key))
    except TinkerError as error:
        sys.stderr.write(f"The server can't start: {error}\n")
        return 1
    # Only now, so that a wrong option is answered at once and a replaced process has not loaded them in vain.
    try:
        from tinker_actors.local.core import Limits  # noqa: PLC0415 - see above
        from tinker_actors.local.serving import serve  # noqa: PLC0415 - see above
        from tinker_actors.local.stand_ins import parse_stand_in  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        sys.stderr.write(f"The server can't start: {error.name} can't be imported. {INSTALL}\n")
        return 1
    try:
        serve(
            options.host,
            options.port,
            dict(options.model),
            options.data_dir,
            insecure=options.insecure,
            allowed_hosts=options.allowed_host,
            api_keys=take_keys(options.api_key_file),
            jwt=options.jwt,
            engine=options.engine,
            limits=Limits(**options.limits),
            log_level=options.log_level,
            until_eof=options.until_eof,
            admin=options.admin,
            faults=options.fault,
            fault_seed=options.fault_seed,
            stand_ins=dict(map(parse_stand_in, options.stand_in)),
            adopt=options.adopt,
        )
    except (TinkerError, OSError) as error:
        sys.stderr.write(f"The server can't start: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0  # Ctrl-C is how it is stopped in a terminal; it has stopped properly by now
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tinker_actors.local", description="An embedded Tinker server.", allow_abbrev=False
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--model", type=_named_folder, action="append", default=[], metavar="NAME=PATH", help="a further base model"
    )
    parser.add_argument(
        "--stand-in", action="append", default=[], metavar="NAME[,vocab=N]", help="a small model under another's name"
    )
    parser.add_argument("--data-dir", type=Path, help="where checkpoints are kept; default: a temporary folder")
    parser.add_argument("--adopt", action="store_true", help="take in checkpoints that the database does not list")
    parser.add_argument("--engine", choices=("numpy", "ledger"), default="numpy", help="what computes")
    parser.add_argument("--limits", type=_object, default={}, help="limits to set, as a JSON object")
    parser.add_argument("--log-level", default="warning", choices=("debug", "info", "warning", "error", "critical"))
    parser.add_argument("--insecure", action="store_true", help="allow a host that other machines can reach")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a further name to be called by"
    )
    parser.add_argument("--admin", action="store_true", help="have an admin endpoint; its token is in the ready line")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="ENDPOINT:KIND[:FIELD=VALUE...]", help="what is to go wrong"
    )
    parser.add_argument("--fault-seed", type=int, default=0, help="what the chances of faults depend on")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="keys to ask for: KEY=OWNER lines",
    )
    parser.add_argument(
        keys.OPTION, type=key_and_owner, action="append", default=[], metavar="KEY=OWNER", help="a key to ask for"
    )
    parser.add_argument("--jwt", action="store_true", help="tell clients to change their key for a token")
    parser.add_argument("--until-eof", action="store_true", help="stop when stdin ends")
    return parser


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(folder)


def key_and_owner(text: str) -> tuple[str, str]:
    """Return the key and the owner of `KEY=OWNER`.

    Raises:
        argparse.ArgumentTypeError: it is not that; what it is instead is not said, because it may be a key.
    """
    try:
        return keys.key_and_owner(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _object(text: str) -> dict[str, float]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


if __name__ == "__main__":
    sys.exit(main())
