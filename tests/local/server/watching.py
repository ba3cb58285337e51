"""A program that asks a server for its health until its stdin ends, and then prints how long each answer took.

The first line it prints says that it has begun.

A process of its own, so that what a test does to the server keeps no question waiting. Each question is timed twice: by
the clock, and by the processor time that the server has used meanwhile.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

PAUSE = 0.02


def processor_clock(pid: int) -> int:
    """Return the clock that tells a process's processor time (Linux: MAKE_PROCESS_CPUCLOCK and CPUCLOCK_SCHED)."""
    return (~pid << 3) | 2


def main() -> None:
    host, pid = sys.argv[1], int(sys.argv[2])
    clock = processor_clock(pid)
    waits = []
    connection = http.client.HTTPConnection(host, timeout=120)
    over = False
    while not over:
        over = bool(waits) and bool(select.select([sys.stdin], [], [], PAUSE)[0])
        begun, worked = time.monotonic(), time.clock_gettime(clock)
        connection.request("GET", "/api/v1/healthz")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"the server answered {answer.status}")
        waits.append((time.monotonic() - begun, time.clock_gettime(clock) - worked))
        if len(waits) == 1:
            sys.stdout.write("asking\n")
            sys.stdout.flush()
    sys.stdout.write(json.dumps(waits))


main()
