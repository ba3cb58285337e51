"""Command line of the stub server; its port is the first line of standard output.

    python -m benchmarks.stub --workload S --hold-ms 50
    python -m benchmarks.stub --limited '{"places": 64, "waiting": 16}'

It runs until its standard input closes, so that it can't outlive whoever started it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

import msgspec

from benchmarks.measure import raise_file_limit
from benchmarks.stub.limited import LimitedService, Settings
from benchmarks.stub.server import Server
from benchmarks.stub.service import PreparedService
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Serve on a free loopback port, whose number is the first line of standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub", description=__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, default="S")
    parser.add_argument("--hold-ms", type=float, default=50.0)
    parser.add_argument("--retrieve-futures", action="store_true", help="offer completions by retrieve_futures")
    parser.add_argument("--limited", metavar="SETTINGS", help="have limits instead of prepared answers")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="serve TLS 1.3")
    parser.add_argument("--cores", type=int, nargs="+", help="the processors to run on")
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, arguments.cores)
    raise_file_limit()
    tls = None if arguments.tls is None else tuple(arguments.tls)
    if arguments.limited is None:
        workload, hold = WORKLOADS[arguments.workload], arguments.hold_ms / 1000
        server = Server(PreparedService(workload, hold, retrieve_futures=arguments.retrieve_futures), tls)
    else:
        service = LimitedService(msgspec.json.decode(arguments.limited, type=Settings))
        server = service.server = Server(service, tls)
    gc.disable()  # nothing here is part of a cycle, and a collection would keep every client waiting
    print(server.port, flush=True)
    server.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
