"""Cells: one client under one load, measured in a fresh process against a fresh stub; and rounds of several.

In a round every variant runs once, one right after the other, with the order turned round every time. What is compared
is the ratio within a round, so that a machine that is slow for a while is slow for all.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure import spread
from benchmarks.processes import RunFailedError, placement, run_client, stub
from benchmarks.scenarios import Common, Say
from benchmarks.variants.base import Spec
from benchmarks.variants.identity import NAMES, wrong

OURS = "ours"
SMALLEST_WARM_UP = 16
FIGURES = (
    "cpu_per_1000", "samples_per_second", "p50_over_ms", "p99_over_ms", "peak_rss_mib", "pending_kib", "threads",
    "connections", "held", "requests_per_sample", "server_cpu_per_1000",
)  # fmt: skip


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One client under one load. What is not here is as in `benchmarks.variants.base.Spec`.

    Attributes:
        variant: the client.
        in_flight: samples in flight.
        samples: samples in the measured wave.
        warm_up: samples before it; default: as many as are in flight, and at least 16.
        workload: a name of `WORKLOADS`.
        hold_ms: how long the stub holds each future.
        completions: the stub offers `retrieve_futures`.
        tls: over TLS 1.3, with a certificate made for the run.
        max_connections: for ours; None leaves the default.
        services: service clients in the process.
        callbacks: time samples by their futures' callbacks.
    """

    variant: str
    in_flight: int
    samples: int
    warm_up: int | None = None
    workload: str = "S"
    hold_ms: float = 50.0
    completions: bool = False
    tls: bool = False
    max_connections: int | None = None
    services: int = 1
    callbacks: bool = False


def measure(cell: Cell, settings: Common) -> dict[str, Any]:
    """Run one cell and return its figures, what it says of itself, and what the server counted.

    Raises:
        RunFailedError: a process failed, a sample was wrong, or the client was not what it should be.
    """
    server_cores, client_cores = placement(pin=settings.pin)
    warm_up = max(SMALLEST_WARM_UP, cell.in_flight) if cell.warm_up is None else cell.warm_up
    arguments = ["--workload", cell.workload, "--hold-ms", str(cell.hold_ms)]
    with contextlib.ExitStack() as stack:
        cafile = None
        if cell.tls:
            cafile, certificate, key = stack.enter_context(certificates())
            arguments += ["--tls", certificate, key]
        if cell.completions:
            arguments.append("--retrieve-futures")
        spec = Spec(
            variant=cell.variant,
            url=stack.enter_context(stub(*arguments, where=server_cores)),
            workload=cell.workload,
            in_flight=cell.in_flight,
            samples=cell.samples,
            warm_up=warm_up,
            cores=tuple(client_cores),
            cafile=cafile,
            max_connections=cell.max_connections,
            services=cell.services,
            callbacks=cell.callbacks,
        )
        result = run_client("benchmarks.variants.run", spec._asdict(), python_of(cell.variant, settings))
    fault = wrong(cell.variant, result, samples=cell.samples + warm_up, completions=cell.completions)
    if fault:
        raise RunFailedError(f"{cell}: {fault}\n{result['stderr']}")
    figures, requests = result["figures"], result["server"]["requests"]
    for part in ("p50", "p99"):
        figures[f"{part}_over_ms"] = figures[f"{part}_ms"] - cell.hold_ms
    figures["pending_kib"] = 1024 * (figures["peak_rss_mib"] - figures["rss_before_mib"]) / cell.in_flight
    asked = requests["asample"] + requests["retrieve_future"] + requests.get("retrieve_futures", 0)
    figures["requests_per_sample"] = asked / (cell.samples + warm_up)
    return result


def python_of(variant: str, settings: Common) -> str | None:
    """Return the interpreter for a variant; None is the one that runs this."""
    return settings.official_python if variant == "official" else None


@contextlib.contextmanager
def certificates() -> Iterator[tuple[str, str, str]]:
    """Make a certificate authority and a certificate for 127.0.0.1; give the files: authority, certificate, key."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("ca.pem", "cert.pem", "key.pem")]
        authority.cert_pem.write_to_path(files[0])
        files[1].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files[2])
        yield str(files[0]), str(files[1]), str(files[2])


Round = dict[str, dict[str, Any]]
"""What each variant gave in one round."""


def rounds(cells: Mapping[str, Cell], settings: Common, say: Say, where: str) -> list[Round]:
    """Run each of the cells once per round; the names are those that the results have.

    Raises:
        RunFailedError: see `measure`.
    """
    found: list[Round] = []
    for index in range(settings.pairs):
        names = list(cells) if index % 2 == 0 else list(cells)[::-1]
        one = {name: measure(cells[name], settings) for name in names}
        found.append({name: one[name] for name in cells})
        costs = ", ".join(f"{name} {one[name]['figures']['cpu_per_1000']:.3f}" for name in cells)
        say(f"{where}, round {index + 1} of {settings.pairs}: CPU s per 1,000 samples: {costs}")
    return found


def summarize(found: Sequence[Round], figures: Iterable[str] = FIGURES) -> dict[str, Any]:
    """Return the spread of each figure of each variant, and of the ratios of ours to the others within the rounds.

    The ratios are of CPU cost (`ratios`) and of samples per second (`speed_ratios`).
    """
    names = list(found[0])
    known = list(figures)
    variants = {name: {it: spread(one[name]["figures"][it] for one in found) for it in known} for name in names}
    others = [name for name in names if name != OURS] if OURS in names else []
    return {
        "variants": variants,
        "ratios": {name: _ratio(found, name, "cpu_per_1000") for name in others},
        "speed_ratios": {name: _ratio(found, name, "samples_per_second") for name in others},
    }


def _ratio(found: Sequence[Round], name: str, figure: str) -> dict[str, float]:
    return spread(one[OURS]["figures"][figure] / one[name]["figures"][figure] for one in found)


def level(found: Sequence[Round], **about: Any) -> dict[str, Any]:
    """Return a level of a report: what it is about, its summary, and every run without what is long and alike."""
    kept = [
        {
            name: {
                "figures": result["figures"],
                "described": {key: value for key, value in result["described"].items() if key != "actors"},
                "server": result["server"],
            }
            for name, result in one.items()
        }
        for one in found
    ]
    return {**about, "summary": summarize(found), "rounds": kept}


def title(variant: str) -> str:
    """Return how a variant is called in tables and pictures."""
    return NAMES.get(variant, variant.replace("_", " "))
