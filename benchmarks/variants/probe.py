"""Probes: small programs that tell what loading a client costs and how soon its first sample is there.

They are run by `python -c`, in a fresh interpreter on the client's core, and print one line of JSON. An import and its
memory are measured inside; the first sample is timed by whoever started the process, when the first line comes.
"""

from __future__ import annotations

_TO_SAMPLE = "ModelInput, SamplingParams, ServiceClient"
_TO_TRAIN_TOO = f"{_TO_SAMPLE}, SamplingClient, TrainingClient, Datum, AdamParams"

IMPORTS: dict[str, str] = {
    "ours": f"from tinker_actors import {_TO_TRAIN_TOO}",
    "official": f"from tinker import {_TO_TRAIN_TOO}",
    "numpy": "import numpy",
    "nothing": "pass",
}
"""What a program that trains and samples imports; ours loads its clients when they are first asked for, so they are."""

_IMPORT = """
import json, os, sys, time
if {cores}: os.sched_setaffinity(0, {cores})
wall, cpu = time.perf_counter(), time.process_time()
{statement}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({{"wall_ms": 1000 * wall, "cpu_ms": 1000 * cpu, "rss_mib": int(status["VmRSS"].split()[0]) / 1024,
    "modules": len(sys.modules), "torch": "torch" in sys.modules}}))
"""

_SAMPLE = """
import os
if {cores}: os.sched_setaffinity(0, {cores})
{statement}
service = ServiceClient(base_url={url!r}{key})
sampler = service.create_sampling_client(base_model="stub"){wait}
result = sampler.sample(ModelInput.from_ints(list(range(1024))), 1, SamplingParams(max_tokens=512)).result()
print(len(result.sequences[0].tokens), flush=True)
"""

_NO_SAMPLE = """
import os
if {cores}: os.sched_setaffinity(0, {cores})
{statement}
print(512, flush=True)
"""

_END = """
import json, time
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
peak = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps({"cpu_ms": 1000 * time.process_time(), "peak_rss_mib": peak}), flush=True)
os._exit(0)
"""


def import_program(variant: str, cores: list[int]) -> str:
    """Return the program that measures an import."""
    return _IMPORT.format(cores=cores, statement=IMPORTS[variant])


def sample_program(variant: str, cores: list[int], url: str) -> str:
    """Return the program that makes one sample, prints a line, and then another with what it took."""
    if variant not in ("ours", "official"):
        return _NO_SAMPLE.format(cores=cores, statement=IMPORTS[variant]) + _END
    statement = f"from {'tinker_actors' if variant == 'ours' else 'tinker'} import {_TO_SAMPLE}"
    key, wait = (', api_key="tml-benchmark"', ".result()") if variant == "official" else ("", "")
    return _SAMPLE.format(cores=cores, statement=statement, url=url, key=key, wait=wait) + _END
