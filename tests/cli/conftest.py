from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from .helpers import start


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`helpers.start`; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def spawn(*words: str) -> subprocess.Popen[str]:
        started.append(start(*words))
        return started[-1]

    yield spawn
    for process in started:
        process.kill()
        process.communicate()
