"""Measuring: CPU, time, memory and threads of this process, and what several runs say together."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
"""The folder that `python -m benchmarks` runs in."""

_STATUS = Path("/proc/self/status")
_PACKAGES = ("tinker-actors", "pykka", "msgspec", "urllib3", "httptools", "numpy")


class Meter:
    """Measures the stretch between `start` and `stop` in this process.

    CPU seconds are user and system time of all threads, from getrusage.
    """

    def __init__(self) -> None:
        self._cpu = (0.0, 0.0)
        self._wall = 0.0
        self._threads = 0

    def start(self) -> None:
        """Begin."""
        self._wall = time.perf_counter()
        self._cpu = _cpu_seconds()

    def midway(self) -> None:
        """Look at what can only be seen while the work is going on: the number of threads."""
        self._threads = max(self._threads, threads())

    def stop(self) -> dict[str, float]:
        """End, and return the figures. Memory is the process's peak since it began, in MiB."""
        user, system = _cpu_seconds()
        wall = time.perf_counter() - self._wall
        return {
            "user_seconds": user - self._cpu[0],
            "system_seconds": system - self._cpu[1],
            "wall_seconds": wall,
            "peak_rss_mib": peak_rss_mib(),
            "threads": self._threads,
        }


def _cpu_seconds() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def threads() -> int:
    """Return how many threads this process has, those that Python did not start included where the system says so."""
    return int(_status("Threads") or len(list(Path("/proc/self/task").iterdir())))


def peak_rss_mib() -> float:
    """Return the peak resident memory of this process in MiB.

    From /proc: getrusage would hand down the peak of the process that started this one.
    """
    return int(_status("VmHWM").split()[0]) / 1024


def _status(name: str) -> str:
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def rss_mib() -> float:
    """Return the resident memory of this process in MiB."""
    return int(_status("VmRSS").split()[0]) / 1024


def raise_file_limit() -> int:
    """Let this process have as many open files as the system permits, and return that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, smallest and largest."""
    known = list(values)
    return {"median": statistics.median(known), "min": min(known), "max": max(known)}


def cores() -> list[int]:
    """Return the processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Return what there is to know about the machine, without its name."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(cores()),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "load_average": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter, and the commit that is checked out."""
    found: dict[str, str | None] = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None  # run from a checkout without being installed
    found["commit"] = _commit()
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
