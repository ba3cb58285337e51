"""What the log says of a day: its story, in tens of lines."""

from __future__ import annotations

import logging
import re

import pytest

import tinker_actors as ta
from tinker_actors.local.core.sessions import end_session
from tinker_actors.testing import Simulation
from tinker_actors.testing.network import CALM

pytestmark = pytest.mark.slow

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
DATA = [ta.Datum([1, 2], {"target_tokens": [2, 3]})]
MINUTE = 60.0


def train_for_a_day(simulation, service):
    """A step, a publication and a sample each five minutes, a checkpoint each three hours; the server is away twice."""
    runtime = simulation.runtime
    trainer = service.create_lora_training_client("local/ledger", rank=4)
    policy = trainer.policy("main")
    began = runtime.clock.now()
    for minute in range(0, 24 * 60, 5):
        at = began + minute * MINUTE
        runtime.run_until(lambda at=at: runtime.clock.now() >= at)
        simulation.network.up = minute not in (300, 900)
        trainer.step(DATA, "cross_entropy")
        policy.publish()
        policy.sample(PROMPT, 1, {"max_tokens": 4})
        if minute % 180 == 175:
            trainer.save_state(f"hour-{minute // 60 + 1}")
    return trainer


def test_a_day_is_told_in_tens_of_lines(caplog):
    simulation = Simulation(1, CALM)
    with caplog.at_level(logging.INFO, "tinker_actors"):
        service = simulation.service()
        trainer = train_for_a_day(simulation, service)
        simulation.wait_for(trainer.save_state("last"))
        end_session(simulation.core._state, str(service._service.session_id), "the test ended it")
        lost = trainer.forward(DATA, "cross_entropy")
        lost._looked_at = True
        simulation.wait_for(lost)
        simulation.close(service)
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "tinker_actors"]
    assert len(told) < 100
    story = "\n".join(f"{level} {text}" for level, text in told)
    expected = [
        r"INFO Session session-\w+ is open at http://127\.0\.0\.1:1\n",
        r"INFO Model session-\w+:train:0 is there: a LoRA adapter of rank 4 on local/ledger\n",
        r"INFO Published version 1 of policy 'main'\n",
        r"INFO Published version \d+ of policy 'main' \(11 others since this was said last\)\n",
        r"INFO Saved tinker://session-\w+:train:0/weights/hour-3\n",
        r"WARNING The server at http://127\.0\.0\.1:1 does not answer; what is under way waits for it: \w+ got no",
        r"INFO The server at http://127\.0\.0\.1:1 answers again, after \d\d+ s\n",
        r"INFO Saved tinker://session-\w+:train:0/weights/last\n",
        r"ERROR Session session-\w+ is lost: The server no longer knows session session-\w+",
    ]
    place = 0
    for pattern in expected:
        found = re.compile(pattern).search(story, place)
        assert found, f"{pattern} is not behind {story[:place][-200:]!r} in\n{story}"
        place = found.end()
    assert story.count("does not answer;") == story.count("answers again") == 2
    assert story.count("INFO Saved ") == 9


def test_a_session_that_ends_well_is_told_so(caplog):
    simulation = Simulation(2, CALM)
    with caplog.at_level(logging.INFO, "tinker_actors"):
        service = simulation.service()
        trainer = service.create_lora_training_client("local/ledger", rank=4)
        saved = trainer.save_state("one")
        simulation.wait_for(saved)
        twin = service.create_training_client_from_state(saved.result().path)
        simulation.wait_for(twin.load_state(saved.result().path))
        simulation.close(service)
    told = [record.getMessage() for record in caplog.records if record.name == "tinker_actors"]
    path = saved.result().path
    session = path.removeprefix("tinker://").partition(":")[0]
    assert told == [
        f"Session {session} is open at http://127.0.0.1:1",
        f"Model {session}:train:0 is there: a LoRA adapter of rank 4 on local/ledger",
        f"Saved {path}",
        f"Model {session}:train:1 is there: restored from {path}, of rank 4 on local/ledger",
        f"Model {session}:train:1 has the weights of a checkpoint now",
        f"Session {session} has ended",
    ]


def test_what_is_soon_over_is_told_in_one_line(caplog):
    simulation = Simulation(2, CALM)
    with caplog.at_level(logging.INFO, "tinker_actors"):
        service = simulation.service()
        simulation.wait_for(service.create_sampling_client(base_model="local/ledger").sample(PROMPT, 1, {}))
        simulation.close(service)
    (told,) = [record.getMessage() for record in caplog.records if record.name == "tinker_actors"]
    assert re.fullmatch(r"Session session-\w+ at http://127\.0\.0\.1:1 has ended, after \d\.\d s", told)


def test_what_lasts_is_told_without_anything_else_to_tell(caplog):
    simulation = Simulation(2, CALM)
    with caplog.at_level(logging.INFO, "tinker_actors"):
        service = simulation.service()
        clock = simulation.runtime.clock
        began = clock.now()
        simulation.runtime.run_until(lambda: clock.now() > began + 20.0)
        told = [record.getMessage() for record in caplog.records if record.name == "tinker_actors"]
        simulation.close(service)
    assert re.fullmatch(r"Session session-\w+ is open at http://127\.0\.0\.1:1", *told)
    assert caplog.records[-1].getMessage().endswith("has ended")


def test_samples_that_wait_for_weights_are_told_of(caplog):
    simulation = Simulation(3, CALM)
    with caplog.at_level(logging.WARNING, "tinker_actors"):
        service = simulation.service()
        trainer = service.create_lora_training_client("local/ledger", rank=4)
        policy = trainer.policy("main", max_lag=1)
        simulation.wait_for(policy.publish(), *(trainer.step(DATA, "cross_entropy") for _ in range(3)))
        late = [policy.sample(PROMPT, 1, {"max_tokens": 4}) for _ in range(2)]
        never = trainer.policy("other").sample(PROMPT, 1, {"max_tokens": 4})
        clock = simulation.runtime.clock
        began = clock.now()
        simulation.runtime.run_until(lambda: clock.now() > began + 60.0)
        assert [future.progress().reason for future in (*late, never)] == [
            "waiting for newer weights", "waiting for newer weights", "waiting for publish()",
        ]  # fmt: skip
        simulation.wait_for(policy.publish(), *late)
        never.cancel()
        simulation.close(service)
    (told,) = [record.getMessage() for record in caplog.records if record.name == "tinker_actors"]
    assert re.match(r"3 samples wait, one of them for 1\d s, for newer weights of their policy", told)
