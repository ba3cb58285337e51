"""Python without asserts (`-O`) and without docstrings (`-OO`): nothing here may need them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import HANG

pytestmark = pytest.mark.slow

PROGRAM = """
import importlib, pkgutil
import tinker_actors as ta
from tinker_actors import errors

assert False, "python runs with asserts"
for module in pkgutil.walk_packages(ta.__path__, "tinker_actors."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TinkerError)]
for kind in kinds:
    if not kind().message or kind("It broke.").message != "It broke.":
        print("says nothing:", kind)
prompt = ta.ModelInput.from_ints([1, 2])
datum = ta.Datum(prompt, {"target_tokens": [2, 3]})
with ta.ServiceClient(base_url="local:") as service:
    try:
        service.create_sampling_client(base_model="no/such-model").result()
    except ta.BadRequestError:
        print("refused")
    sampler = service.create_sampling_client(base_model="local/tiny")
    trainer = service.create_lora_training_client("local/tiny", rank=2)
    policy = trainer.policy("p")
    print(len(sampler.sample(prompt, 1, {"max_tokens": 3, "stop": []}).result().sequences[0].tokens))
    print(trainer.step([datum], "cross_entropy").result().tokens)
    policy.publish().result()
    print(len(policy.sample(prompt, 1, {"max_tokens": 3, "stop": []}).result().sequences[0].tokens))
    print(trainer.save_state("kept").result().path.rpartition("/")[2])
    print(service.tree() is not None)
try:
    trainer.optim_step()
except ta.ClientClosedError:
    print("closed")
"""


@pytest.mark.parametrize("level", ["1", "2"])
def test_a_program_runs_without_asserts_and_docstrings(level):
    # By the variable, and not by the option, so that the embedded server's process runs so too.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**os.environ, "PYTHONOPTIMIZE": level},
        capture_output=True,
        text=True,
        timeout=2 * HANG,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["refused", "3", "2", "3", "kept", "True", "closed"], "")
    assert done.returncode == 0
