"""What a program hears that loses work: on stderr where it set up no logging, and one line for one failure."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
from collections import Counter

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, prompt

pytestmark = pytest.mark.slow

SETUP = """
import logging, sys
import tinker_actors as ta
url, *log = sys.argv[1:]
if log:
    logging.basicConfig(filename=log[0])
good = ta.Datum(ta.ModelInput.from_ints([1, 2]), {"target_tokens": [2, 3]})
bad = ta.Datum(ta.ModelInput.from_ints([100_000]), {"target_tokens": [5]})
long = ta.Datum(ta.ModelInput.from_ints([1, 2] * 100), {"target_tokens": [2, 3] * 100})
service = ta.ServiceClient(base_url=url)
trainer = service.create_lora_training_client("local/tiny", rank=4).result()
"""
PROGRAMS = {
    "nothing": "with service: trainer.forward_backward([good], 'cross_entropy').result()",
    "samples": """
with service:
    sampler = service.create_sampling_client(base_model="local/tiny")
    kept = [sampler.sample(good.model_input, 1, {"max_tokens": 300, "stop": []}) for _ in range(20)]
    kept[0].result()
""",
    "a sample cancelled at the end": """
with service:
    sampler = service.create_sampling_client(base_model="local/tiny")
    sample = sampler.sample(good.model_input, 1, {"max_tokens": 30000, "stop": []})
    sample.accepted.result()
    sample.cancel()
""",
    "closed with work left": """
steps = [trainer.step([long] * 50, "cross_entropy") for _ in range(100)]
service.close(timeout=0)
""",
    "failures freed": """
with service:
    for _ in range(30):
        trainer.forward_backward([bad], "cross_entropy")
""",
    "failures kept until the end": """
with service:
    kept = [trainer.forward_backward([bad], "cross_entropy") for _ in range(30)]
""",
    "steps behind a failure": """
with service:
    kept = [trainer.forward_backward([bad], "cross_entropy")] + [trainer.optim_step() for _ in range(30)]
""",
    "ended without a word": """
for _ in range(100):
    trainer.step([good], "cross_entropy")
trainer.forward([good], "cross_entropy")
trainer.save_state("never")
""",
    "ended with a publication": """
for _ in range(100):
    trainer.forward([good], "cross_entropy")
trainer.policy("p").publish()
""",
    "ended when all was decided": """
trainer.step([good], "cross_entropy").result()
trainer.policy("p").publish().result()
trainer.save_state("x").result()
""",
    "closed, and ended in a forked child": """
import os, warnings
warnings.simplefilter("ignore")  # that threads do not come along
steps = [trainer.step([good], "cross_entropy") for _ in range(100)]
if os.fork() == 0:
    sys.exit()
os.wait()
service.close(timeout=0)
""",
    "ended in a forked child that called something itself": """
import os, warnings
warnings.simplefilter("ignore")
step = trainer.step([good], "cross_entropy")  # so that the parent is watched, too
if os.fork() == 0:
    another = ta.ServiceClient(base_url=sys.argv[1]).create_lora_training_client("local/tiny")
    another.save_state("never")
    sys.exit()
os.wait()
service.close()
""",
    "an actor that was stopped": """
kept = [trainer.step([long] * 50, "cross_entropy") for _ in range(100)]
trainer.actor_ref.stop()
service.close()
""",
    "a supervisor that was stopped": """
kept = [trainer.step([long] * 50, "cross_entropy") for _ in range(100)]
service.actor_ref.stop()
service.close()
""",
}
TOLD = {
    "nothing": None,
    "samples": None,
    "a sample cancelled at the end": None,
    "closed with work left": r"Closed with (\d+) operations \(.*100 optim_step.*\) unfinished",
    "failures freed": r"Nobody looked at the failure of 30 operations \(30 forward_backward\)",
    "failures kept until the end": r"Nobody looked at the failure of 30 operations \(30 forward_backward\)",
    "steps behind a failure": r"Nobody looked at the failure of 31 operations \(30 optim_step, 1 forward_backward\)",
    "ended without a word": r"The program ended with \d+ operations \(.* optim_step.* 1 save_state\) unfinished.*close",
    "ended with a publication": r"The program ended with 1 operation \(1 save_weights_for_sampler\) unfinished",
    "ended when all was decided": None,
    "closed, and ended in a forked child": r"Closed with (\d+) operations \(.*optim_step.*\) unfinished",
    "ended in a forked child that called something itself": r"The program ended with 1 operation \(1 save_state\)",
    "an actor that was stopped": r"Nobody looked at the failure of 100 operations",
    "a supervisor that was stopped": r"Nobody looked at the failure of 100 operations",
}


def run(*arguments):
    command = [sys.executable, "-c", SETUP + PROGRAMS[arguments[0]], *arguments[1:]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=True)
    return ended.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_loss_is_one_line_on_stderr_where_logging_was_not_set_up_and_in_the_log_where_it_was(
    server, tmp_path, program
):
    told, log = run(program, server.url).splitlines(), tmp_path / "log"
    assert not run(program, server.url, str(log))
    logged = [line for line in log.read_text().splitlines() if "tinker_actors" in line]
    for lines in (told, logged):
        if TOLD[program] is None:
            assert not lines
        else:
            (line,) = lines
            assert re.search(TOLD[program], line)


INTERRUPTED = """
import atexit
futures = []
try:
    with service:
        sampler = service.create_sampling_client(base_model="local/tiny")
        for _ in range(300):
            futures += [trainer.forward_backward([long] * 50, "cross_entropy"), trainer.optim_step()]
        futures += [sampler.sample(good.model_input, 1, {"max_tokens": 30000, "stop": []}) for _ in range(40)]
        futures[1].result()
        print("ready", flush=True)
        futures[599].result()
finally:
    assert all(future.done() for future in futures)
    print(sum(future.exception() is not None for future in futures), flush=True)
"""


def test_ctrl_c_is_one_line_with_the_exact_number_of_what_was_left(server):
    command = [sys.executable, "-c", SETUP + INTERRUPTED, server.url]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        said, complained = child.communicate(timeout=HANG)
    finally:
        child.kill()
        child.wait()
    *_, last = complained.splitlines()
    assert last == "KeyboardInterrupt"
    assert "Nobody" not in complained
    ((number,),) = [re.findall(r"Closed with (\d+) operations", complained)]
    assert number == said.strip()


def test_every_operation_that_closing_left_is_counted_once_by_its_name(server, caplog):
    long = datum("a long one " * 20)
    with caplog.at_level(logging.WARNING, "tinker_actors"):
        service = ta.ServiceClient(base_url=server.url)
        trainer = service.create_lora_training_client("local/tiny", rank=4).result(HANG)
        policy = trainer.policy("main")
        futures = [trainer.forward_backward([long] * 500, "cross_entropy")]
        futures += [trainer.step([long], "cross_entropy") for _ in range(5)]
        futures += [trainer.save_state("kept"), policy.publish(), policy.sample(prompt("a"), 1, {"max_tokens": 1})]
        sampler = trainer.save_weights_and_get_sampling_client()
        futures += [sampler.sample(prompt("a"), 1, {"max_tokens": 1}) for _ in range(3)]
        proxied = trainer.proxy().forward([long], "cross_entropy")
        later = service.create_lora_training_client("local/tiny", rank=4)
        service.close(timeout=0)
    for future in [*futures, proxied, later]:
        with pytest.raises(ta.ClientClosedError):
            future.result(HANG)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    number, names = re.fullmatch(
        r"Closed with (\d+) operations \((.*)\) unfinished; their futures failed", told
    ).groups()
    counts = Counter({name: int(count) for count, name in (each.split(" ") for each in names.split(", "))})
    assert counts.total() == int(number)
    assert counts == {
        "forward_backward": 6,
        "optim_step": 5,
        "sample": 4,
        "save_weights_for_sampler": 2,
        "save_state": 1,
        "forward": 1,
        "create_model": 1,
    }


UNCAUGHT = {
    "a failed gradient": 'trainer.forward_backward([bad], "cross_entropy").result()',
    "what a closed service had left": """
futures = [trainer.forward_backward([long] * 50, "cross_entropy") for _ in range(50)]
service.close(timeout=0)
futures[-1].result()
""",
    "a model that can't be made": """
with service:
    service.create_lora_training_client("nope").optim_step().result()
""",
    "what is no token": "ta.ModelInput.from_ints([True])",
    "what is no datum": "trainer.forward_backward([ta.Datum([1])], 'cross_entropy')",
    "what can't be pickled": "import pickle; pickle.dumps(trainer)",
    "a misspelt argument": "ta.Config(base_ulr='x')",
}


@pytest.mark.parametrize("program", UNCAUGHT)
def test_an_error_that_nobody_catches_is_one_traceback(server, program):
    command = [sys.executable, "-c", SETUP + UNCAUGHT[program], server.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("Traceback (most recent call last)") == 1
    assert "direct cause" not in ended.stderr
    assert "During handling" not in ended.stderr
    (first, *_) = re.findall(r'File "([^"]+)", line', ended.stderr)
    assert first == "<string>", "the program's own line comes first"
