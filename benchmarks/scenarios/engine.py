"""Engine: tokens per second in training and sampling, ours beside transformers and PyTorch on the CPU.

The same tiny model with the same weights on the same cores, each variant in a fresh process, in rounds whose order is
turned round every time. PyTorch runs with one thread and with as many as there are cores, and the faster one counts.
Ours runs as in the server, with one thread for a matrix product. What is compared is the ratio within a round, so that
a machine that is slow for a while is slow for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.measure import ROOT, cores, spread
from benchmarks.processes import RunFailedError
from tinker_actors.local.engine.tiny import TINY_CONFIG, tiny_base

OURS = "ours"
_LONGEST_RUN = 600.0
_LOSS_TOLERANCE = 1e-4  # relative
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
_IMPORTS = "import torch, transformers"


class Settings(NamedTuple):
    """What is run.

    Attributes:
        peer_python: an interpreter that has torch and transformers.
        rounds: rounds of all variants.
        seconds: how long each measurement goes on at least.
        levels: sequences that are continued at once, one measurement each.
        sequences: sequences in a training step.
        length: tokens of each.
        rank: rank of the LoRA matrices.
        most_cores: cores that are used, if there are as many.
    """

    peer_python: str = sys.executable
    rounds: int = 5
    seconds: float = 2.0
    levels: tuple[int, ...] = (1, 16, 64)
    sequences: int = 16
    length: int = 128
    rank: int = 8
    most_cores: int = 2


def peer_is_there(python: str) -> bool:
    """Return whether an interpreter has what the peer needs."""
    try:
        done = subprocess.run([python, "-c", _IMPORTS], capture_output=True, timeout=_LONGEST_RUN, check=False)
    except OSError:
        return False
    return done.returncode == 0


def run(settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all rounds and return settings, every run, and the summary.

    Raises:
        RunFailedError: a process failed, the peer is not to be had, or the engines had different models.
    """
    if not peer_is_there(settings.peer_python):
        raise RunFailedError(f"{settings.peer_python} has no torch and transformers; see --peer-python")
    usable = cores()[: settings.most_cores]
    variants = [(OURS, 1)] + [(_peer_name(threads), threads) for threads in sorted({1, len(usable)})]
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        np.savez(weights, **tiny_base().weights)
        for index in range(settings.rounds):
            order = variants if index % 2 == 0 else variants[::-1]
            found = {name: _run_one(settings, name, threads, weights, usable) for name, threads in order}
            _check_same_model(found)
            rounds.append(found)
            rates = ", ".join(f"{name} {one['rates']['train']:.0f}" for name, one in sorted(found.items()))
            say(f"round {index + 1} of {settings.rounds}: training tokens/s: {rates}")
    return {"settings": settings._asdict(), "cores": len(usable), "summary": summarize(rounds), "rounds": rounds}


def _peer_name(threads: int) -> str:
    return f"torch, {threads} thread{'s' if threads > 1 else ''}"


def _run_one(settings: Settings, name: str, threads: int, weights: Path, usable: list[int]) -> dict[str, Any]:
    ours = name == OURS
    task = {
        "weights": str(weights),
        "config": _config(),
        "rank": settings.rank,
        "sequences": settings.sequences,
        "length": settings.length,
        "levels": settings.levels,
        "seconds": settings.seconds,
        "cores": usable,
        "threads": threads,
    }
    module = f"benchmarks.engines.{'ours' if ours else 'transformers_cpu'}"
    command = [sys.executable if ours else settings.peer_python, "-m", module, msgspec.json.encode(task).decode()]
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads))}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_LONGEST_RUN, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(f"{name} took longer than {_LONGEST_RUN:g} s") from error
    if done.returncode:
        raise RunFailedError(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = msgspec.json.decode(done.stdout.splitlines()[-1])
    return result


def _config() -> dict[str, Any]:
    """Return the built-in model's shape as transformers names it."""
    return {
        "vocab_size": TINY_CONFIG.vocab_size,
        "hidden_size": TINY_CONFIG.hidden_size,
        "num_hidden_layers": TINY_CONFIG.n_layers,
        "num_attention_heads": TINY_CONFIG.n_heads,
        "num_key_value_heads": TINY_CONFIG.n_kv_heads,
        "head_dim": TINY_CONFIG.head_dim,
        "intermediate_size": TINY_CONFIG.intermediate_size,
        "max_position_embeddings": TINY_CONFIG.context_length,
        "rope_theta": TINY_CONFIG.rope_theta,
        "rms_norm_eps": TINY_CONFIG.rms_eps,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,  # every sequence is to have its full length
    }


def _check_same_model(found: dict[str, dict[str, Any]]) -> None:
    """Refuse a round in which the variants did not compute the same, or one was not what it should be."""
    ours = found[OURS]
    for name, one in found.items():
        if one["greedy"] != ours["greedy"] or abs(one["loss"] - ours["loss"]) > _LOSS_TOLERANCE * ours["loss"]:
            raise RunFailedError(f"{name} has another model than we: losses {one['loss']} and {ours['loss']}")
        package = "tinker_actors." if name == OURS else "transformers."
        if not one["described"]["engine"].startswith(package):
            raise RunFailedError(f"{name} is {one['described']}")


def summarize(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return, for each measurement, the spread of every variant's rate and of our rate over the best peer's."""
    summary = {}
    for what in rounds[0][OURS]["rates"]:
        rates = {name: spread(one[name]["rates"][what] for one in rounds) for name in rounds[0]}
        ratios = [
            one[OURS]["rates"][what] / max(other["rates"][what] for name, other in one.items() if name != OURS)
            for one in rounds
        ]
        summary[what] = {"rates": rates, "ratio": spread(ratios)}
    return summary


def table(report: dict[str, Any]) -> str:
    """Return the summary as a table for people."""
    names = [OURS, *sorted(name for name in report["rounds"][0] if name != OURS)]
    rows = [("tokens per second", *names, "ours / best")]
    for what, found in report["summary"].items():
        rates = [_cell(found["rates"][name], 0) for name in names]
        rows.append((what, *rates, _cell(found["ratio"], 2)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(values: dict[str, float], digits: int) -> str:
    return f"{values['median']:.{digits}f} ({values['min']:.{digits}f}..{values['max']:.{digits}f})"
