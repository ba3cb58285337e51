"""Keys: where a server is told which ones it asks for, and whose they are.

Everybody on a machine can read the arguments of a process, but only its user its environment and his own files. So keys
come from a file or from the environment; those that were given as arguments are moved into the environment before the
server starts (`launching`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
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


def joined(*given: tuple[str, Iterable[tuple[str, str]]]) -> dict[str, str]:
    """Return keys and their owners from several places.

    Args:
        *given: the name of each place, for messages, and pairs of key and owner.

    Raises:
        ConfigError: one is given to two owners; the key is not repeated.
    """
    keys: dict[str, str] = {}
    for place, pairs in given:
        for key, owner in pairs:
            if keys.setdefault(key, owner) != owner:
                raise ConfigError(f"{place}: a key is given twice, the second time for {owner!r}.")
    return keys


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
        ConfigError: the variable holds something else, which is not repeated, or gives a key to two owners.
    """
    try:
        found = json.loads(environment.get(VARIABLE) or "{}", object_pairs_hook=tuple)  # a key may stand there twice
    except ValueError:
        found = None
    if not isinstance(found, tuple) or not all(isinstance(owner, str) for _, owner in found):
        raise ConfigError(f"{VARIABLE} is no JSON object of keys and their owners.")
    return joined((VARIABLE, found))


def take_keys(given: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """Return the given keys and those in this process's environment and in files, and take them out of the environment.

    Raises:
        ConfigError: some of them can't be read, or a key is given to two owners.
    """
    found = keys_in(os.environ)
    os.environ.pop(VARIABLE, None)
    return joined(
        (OPTION, given.items()), (VARIABLE, found.items()), *((str(file), keys_in_file(file).items()) for file in files)
    )


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is no text"
