"""Calls of Python functions that a sample costs our client, in this process; the last line of output is the result.

Noise-free where CPU seconds are not: the same work takes the same calls on every machine. What varies is how often a
thread is woken, which is some calls in a hundred samples.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from types import CodeType, FrameType
from typing import Any

from benchmarks.measure import ROOT, Meter
from benchmarks.processes import stub_stats
from benchmarks.variants.base import Job, Spec

_OURS = str(ROOT / "tinker_actors")


class Calls:
    """Counts the calls of all threads that begin from now on, and of this one, while it is `counting`."""

    def __init__(self) -> None:
        self.counting = False
        self._counts: list[Counter[CodeType]] = []  # one for each thread, so that none is lost
        threading.setprofile(self._begin)
        sys.setprofile(self._begin)

    def _begin(self, frame: FrameType, event: str, _: Any) -> None:
        counts: Counter[CodeType] = Counter()
        self._counts.append(counts)

        def count(frame: FrameType, event: str, _: Any) -> None:
            if event == "call" and self.counting:
                counts[frame.f_code] += 1

        sys.setprofile(count)
        count(frame, event, None)

    def by_function(self) -> dict[str, int]:
        """Return how often each function of the package, and of what it calls, was called."""
        total: Counter[str] = Counter()
        for counts in self._counts:
            for code, number in counts.items():
                if code.co_filename.startswith(_OURS):
                    total[f"{code.co_filename.removeprefix(_OURS)[1:]}:{code.co_qualname}"] += number
        return dict(total.most_common())


def run(spec: Spec) -> dict[str, Any]:
    """Return the calls per sample of the package's functions, in all and by function, and the server's counts."""
    calls = Calls()
    from benchmarks.variants.ours import Client

    client = Client(Job(spec))
    right = client.wave(spec.warm_up, None)
    calls.counting = True
    right += client.wave(spec.samples, Meter())
    calls.counting = False
    server = stub_stats(spec.url)
    client.close()
    found = calls.by_function()
    return {
        "right": right,
        "server": server,
        "calls": sum(found.values()) / spec.samples,
        "by_function": {name: number / spec.samples for name, number in found.items()},
    }


def main() -> None:
    """Run the spec that is the only argument."""
    print(json.dumps(run(Spec(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
