"""Keys: where a server is told which ones it asks for, and whose they are.

Everybody on a machine can read the arguments of a process, but only its user its environment and his own files. So keys
come from a file or from the environment; those that were given as arguments are moved into the environment before the
server starts (`launching`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinker_actors.errors import ConfigError

VARIABLE = "TINKER_LOCAL_API_KEYS"
"""The environment variable with keys, as a JSON object: key -> owner."""

OPTION = "--api-key"
"""The option with a key, `KEY=OWNER`."""


def key_and_owner(text: str) -> tuple[str, str]:
    """Return the key and the owner of `KEY=OWNER`; the key may hold a `=`, the owner not.

    Raises:
        ValueError: it is not that; what it is instead is not said, because it may be a key.
    """
    key, _, owner = text.rpartition("=")
    if not (key and owner):
        raise ValueError("not KEY=OWNER")
    return key, owner


def keys_in_file(path: Path) -> dict[str, str]:
    """Return the keys in a file: one `KEY=OWNER` a line; empty lines and those that begin with `#` are passed over.

    Raises:
        ConfigError: it can't be read, or a line is something else; the line is named and not repeated.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The keys in {path} can't be read: {_why(error)}.") from None
    keys: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            try:
                key, owner = key_and_owner(line)
            except ValueError as error:
                raise ConfigError(f"{path}, line {number}: {error}.") from None
            if keys.setdefault(key, owner) != owner:
                raise ConfigError(f"{path}, line {number}: a key is given twice, the second time for {owner!r}.")
    return keys


def keys_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the keys in an environment.

    Raises:
        ConfigError: the variable holds something else, which is not repeated.
    """
    try:
        found = json.loads(environment.get(VARIABLE) or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(owner, str) for owner in found.values()):
        raise ConfigError(f"{VARIABLE} is no JSON object of keys and their owners.")
    return found


def take_keys(files: Sequence[Path]) -> dict[str, str]:
    """Return the keys in files and in this process's environment, and take the latter out of it.

    Raises:
        ConfigError: some of them can't be read.
    """
    found = keys_in(os.environ)
    os.environ.pop(VARIABLE, None)
    for file in files:
        found |= keys_in_file(file)
    return found


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is no text"
