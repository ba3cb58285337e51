"""Data folders of real servers: others' things stay, checkpoints are adopted, damage is named, nobody else can read."""

from __future__ import annotations

import os
import stat

import pytest

import tinker_actors as ta
from tinker_actors.local.process import LocalServer, LocalServerError
from tinker_actors.local.store.files import DATABASE

pytestmark = pytest.mark.slow

HANG = 60.0
PROMPT = ta.ModelInput.from_ints(list(b"ab"))


def saved(service, name="a"):
    """Train a step and save it; return the path and what the weights say."""
    trainer = service.create_lora_training_client("local/tiny", rank=2, seed=0)
    ids = list(b"hello world")
    datum = ta.Datum(ta.ModelInput.from_ints(ids[:-1]), {"target_tokens": ids[1:]})
    trainer.forward_backward([datum], "cross_entropy")
    trainer.optim_step(ta.AdamParams(learning_rate=0.1)).result(HANG)
    path = trainer.save_state(name).result(HANG).path
    return path, trainer.forward([datum], "cross_entropy").result(HANG).metrics["loss:sum"], datum


def loss_of(service, path, datum):
    trainer = service.create_training_client_from_state(path)
    return trainer.forward([datum], "cross_entropy").result(HANG).metrics["loss:sum"]


def test_a_folder_with_somebody_elses_files_can_be_used_and_keeps_them(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    theirs = [
        data / "checkpoints/run7/weights/best/model.pt",
        elsewhere / "weights/best/model.pt",
        data / "archives/old.tar",
        data / "README.md",
    ]
    for file in theirs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    (data / "checkpoints/linked").symlink_to(elsewhere)
    with LocalServer(data_dir=data) as server:
        with ta.ServiceClient(base_url=server.url) as service:
            saved(service)
        server.kill()
        server.start()
    assert [file.read_text() for file in theirs] == ["mine"] * len(theirs)


def test_a_server_without_its_database_refuses_to_start_until_it_may_adopt(tmp_path):
    with LocalServer(data_dir=tmp_path) as server, ta.ServiceClient(base_url=server.url) as service:
        path, loss, datum = saved(service)
    for file in tmp_path.glob(f"{DATABASE}*"):
        file.unlink()
    with pytest.raises(LocalServerError, match=r"1 finished checkpoints .*--adopt"):
        LocalServer(data_dir=tmp_path).start()
    with (
        LocalServer(data_dir=tmp_path, adopt=True) as server,
        ta.ServiceClient(base_url=server.url) as service,
    ):
        assert loss_of(service, path, datum) == loss
        assert "adopted" in server._log_tail()
    with LocalServer(data_dir=tmp_path) as server, ta.ServiceClient(base_url=server.url) as service:
        assert loss_of(service, path, datum) == loss


def test_a_flipped_bit_in_saved_weights_is_a_failure_that_names_the_file(tmp_path):
    with LocalServer(data_dir=tmp_path) as server, ta.ServiceClient(base_url=server.url) as service:
        path, *_ = saved(service)
        other = service.create_lora_training_client("local/tiny", rank=2, seed=0)
        (file,) = tmp_path.rglob("adapter_model.safetensors")
        content = bytearray(file.read_bytes())
        content[-5] ^= 4
        file.write_bytes(content)
        with pytest.raises(ta.TinkerError, match=r"adapter_model\.safetensors .*damaged"):
            other.load_state(path).result(HANG)
        sampler = service.create_sampling_client(model_path=path)
        with pytest.raises(ta.TinkerError, match=r"adapter_model\.safetensors .*damaged"):
            sampler.sample(PROMPT, 1, ta.SamplingParams(max_tokens=1)).result(HANG)


def test_nobody_else_can_read_what_a_server_keeps(tmp_path):
    before = os.umask(0)
    try:
        with LocalServer(data_dir=tmp_path / "data") as server, ta.ServiceClient(base_url=server.url) as service:
            saved(service)
            found = [server.data_dir, *server.data_dir.rglob("*")]
            modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in found}
    finally:
        os.umask(before)
    assert len(modes) > 8
    assert not {path: oct(mode) for path, mode in modes.items() if mode & 0o077}
