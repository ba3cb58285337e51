from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import tinker_actors as ta
from tinker_actors.local.process import LocalServer

from .helpers import HANG, interrupt, line_with

pytestmark = pytest.mark.slow


def test_serve_answers_at_the_address_it_prints_until_ctrl_c(spawn, tmp_path: Path):
    process = spawn("serve", "--port", "0", "--data-dir", str(tmp_path / "kept"))
    url = line_with(process, "Serving at ").split()[-1]
    with urllib.request.urlopen(f"{url}/api/v1/healthz", timeout=HANG) as answer:
        assert answer.status == 200
    assert line_with(process, "Models: ") == "Models: local/tiny\n"
    assert str(tmp_path / "kept") in line_with(process, "Checkpoints: ")
    line_with(process, "Ctrl-C")
    assert interrupt(process) == (130, "\nInterrupted.\n")
    assert (tmp_path / "kept").is_dir()


def test_serve_without_a_folder_leaves_nothing_behind(spawn):
    process = spawn("serve", "--port", "0")
    folder = Path(line_with(process, "Checkpoints: ").split()[1])
    assert folder.is_dir()
    line_with(process, "Ctrl-C")
    process.send_signal(signal.SIGTERM)
    assert process.wait(HANG) == 0
    assert not folder.exists()


def test_checkpoints_that_the_database_does_not_list_are_adopted_when_asked(spawn, tmp_path: Path):
    with LocalServer(data_dir=tmp_path) as server, ta.ServiceClient(base_url=server.url) as service:
        path = service.create_lora_training_client("local/tiny", rank=1).save_state("a").result(HANG).path
    for file in tmp_path.glob("tinker.sqlite3*"):
        file.unlink()
    process = spawn("serve", "--port", "0", "--data-dir", str(tmp_path))
    _, said = process.communicate(timeout=HANG)
    assert process.returncode == 2
    assert "does not list" in said
    assert f"serve --data-dir {tmp_path} --adopt" in said
    process = spawn("serve", "--port", "0", "--data-dir", str(tmp_path), "--adopt")
    url = line_with(process, "Serving at ").split()[-1]
    with ta.ServiceClient(base_url=url) as service:
        sampler = service.create_sampling_client(model_path=path)
        prompt = ta.ModelInput.from_ints([1])
        assert sampler.sample(prompt, 1, ta.SamplingParams(max_tokens=1)).result(HANG).sequences
    interrupt(process)


def test_a_port_that_is_taken_is_one_line_and_status_1(spawn):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = spawn("serve", "--port", str(port))
        _, said = process.communicate(timeout=HANG)
    assert process.returncode == 1
    assert re.fullmatch(rf"Error: The server can't listen on 127\.0\.0\.1, port {port}: .*\n", said)


def test_a_host_that_others_can_reach_needs_the_option(spawn):
    process = spawn("serve", "--host", "0.0.0.0", "--port", "0")
    _, said = process.communicate(timeout=HANG)
    assert process.returncode == 2
    assert said.startswith("Error: ")
    assert "--insecure" in said
    assert len(said.splitlines()) == 1


def test_serve_asks_for_the_keys_that_it_is_given_and_shows_none_in_the_process_list(spawn, tmp_path: Path):
    (tmp_path / "keys").write_text("tml-d=dan\n")
    given = ["--api-key", "tml-a=b=ann", "--api-key", "tml-c=bob", "--api-key-file", str(tmp_path / "keys")]
    process = spawn("serve", "--port", "0", *given, "--jwt")
    url = line_with(process, "Serving at ").split()[-1]
    shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"--jwt" in shown
    assert b"tml-" not in shown
    for key, status in (("tml-a=b", 200), ("tml-c", 200), ("tml-d", 200), ("tml-a", 401), ("", 401)):
        request = urllib.request.Request(f"{url}/api/v1/sessions", headers={"X-API-Key": key})
        try:
            with urllib.request.urlopen(request, timeout=HANG) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
            error.close()
        assert found == status
    interrupt(process)


def test_an_option_that_is_no_key_is_not_repeated(spawn):
    process = spawn("serve", "--api-key", "tml-secret")
    _, said = process.communicate(timeout=HANG)
    assert process.returncode == 2
    assert "not KEY=OWNER" in said
    assert "tml-secret" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data-dir", "/dev/null"], "/dev/null"),
        (["--fault", "optim_step:explode"], "'explode'"),
        (["--model", "mine=/nowhere"], "/nowhere/config.json"),
        (["--api-key-file", "/nowhere/keys"], "/nowhere/keys"),
    ],
)
def test_what_is_at_fault_is_named_in_one_line_with_status_2(words, said, spawn):
    process = spawn("serve", "--port", "0", *words)
    _, told = process.communicate(timeout=HANG)
    assert process.returncode == 2
    (line,) = told.splitlines()
    assert line.startswith("Error: ")
    assert said in line


def test_a_disk_that_takes_nothing_is_named_with_its_folder(tmp_path: Path):
    command = f"ulimit -f 0; exec {sys.executable} -m tinker_actors serve --port 0 --data-dir {tmp_path}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 2
    assert re.fullmatch(rf"Error: {tmp_path}/tinker\.sqlite3 can't be used: .*\n", done.stderr)


def test_the_log_at_info_says_with_time_and_owner_what_comes_and_goes(spawn, tmp_path: Path):
    (tmp_path / "keys").write_text("tml-ann=ann\ntml-bob=bob\n")
    process = spawn("serve", "--port", "0", "--log-level", "info", "--api-key-file", str(tmp_path / "keys"))
    url = line_with(process, "Serving at ").split()[-1]
    line_with(process, "Ctrl-C")
    with ta.ServiceClient(base_url=url, api_key="tml-ann") as service:
        path = service.create_lora_training_client("local/tiny", rank=2).save_state("one").result(HANG).path
        delete = urllib.request.Request(
            f"{url}/api/v1/training_runs/{path.removeprefix('tinker://').partition('/')[0]}/checkpoints/weights/one",
            headers={"X-API-Key": "tml-ann"},
            method="DELETE",
        )
        urllib.request.urlopen(delete, timeout=HANG).close()
    refused = ta.ServiceClient(base_url=url, api_key="tml-secret")
    with pytest.raises(ta.AuthenticationError):
        refused.create_lora_training_client("local/tiny").result(HANG)
    refused.close()
    _, said = interrupt(process)
    session = path.removeprefix("tinker://").partition(":")[0]
    expected = [
        rf"INFO ann: opened {session}",
        rf"INFO ann: made the model {session}:train:0 on local/tiny, rank 2",
        rf"INFO ann: checkpoint\.save {path}",
        rf"INFO ann: checkpoint\.delete {path}",
        rf"INFO ann: {session} has ended: its client finished it \(success\)",
        r"WARNING a request was refused: This API key is not known here\.",
    ]
    place = 0
    for pattern in expected:
        found = re.compile(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} {pattern}$", re.MULTILINE).search(said, place)
        assert found, f"{pattern} is not in its place in\n{said}"
        place = found.end()
    assert "tml-" not in said
