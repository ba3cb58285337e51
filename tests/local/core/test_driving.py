"""The package's own words on how to drive the core, run as they stand."""

from __future__ import annotations

import json
import random
import textwrap

from tinker_actors.local import core
from tinker_actors.local.core import CoreRequest, Hold, Limits, ServiceCore
from tinker_actors.local.ledger import LedgerEngine
from tinker_actors.local.store.memory import MemoryStore


def drive(seed: int) -> list[bytes]:
    """Run a small program over the documented functions, and return everything that was answered."""
    shown = textwrap.dedent(core.__doc__.partition("::\n")[2].partition("Everything is")[0])
    names = {
        "CoreRequest": CoreRequest, "Hold": Hold, "Limits": Limits, "ServiceCore": ServiceCore,
        "LedgerEngine": LedgerEngine, "MemoryStore": MemoryStore, "random": random.Random(seed),
    }  # fmt: skip
    exec(shown, names)
    answers: list[bytes] = []

    def ask(path: str, body: object, now: float = 0.0) -> None:
        names["receive"](
            "POST", f"/api/v1/{path}", json.dumps(body).encode(), lambda answer: answers.append(answer.body), now
        )

    ask("create_session", {"sdk_version": "x"})
    session = json.loads(answers[-1])["session_id"]
    ask("create_model", {"session_id": session, "model_seq_id": 0, "base_model": "local/ledger"})
    ask("retrieve_future", {"request_id": json.loads(answers[-1])["request_id"]})
    assert len(answers) == 2
    names["settle"](29.9)
    assert len(answers) == 2
    names["settle"](30.0)
    assert json.loads(answers[-1])["type"] == "try_again"
    ask("retrieve_future", {"request_id": json.loads(answers[1])["request_id"]}, 30.0)
    names["work"]("train", 31.0)
    names["settle"](31.0)
    assert json.loads(answers[-1])["model_id"] == f"{session}:train:0"
    return answers


def test_the_documented_way_works_and_repeats_byte_by_byte():
    assert drive(1) == drive(1)
    assert drive(1) != drive(2)
