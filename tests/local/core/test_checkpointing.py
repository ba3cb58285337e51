"""Checkpoints: saved, loaded, loaded into a new model, sampled from."""

from __future__ import annotations

import pytest


@pytest.fixture
def trained(driver, bodies):
    """A model after one step, and the path where it was saved."""
    model = driver.model()
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    driver.submit("optim_step", bodies.optim_step(model, 2))
    request_id = driver.submit("save_weights", {"model_id": model, "path": "c1", "seq_id": 3, "ttl_seconds": None})
    driver.work()
    return model, driver.result(request_id)["path"]


def next_weights(driver, bodies, model, seq_id):
    driver.submit("forward_backward", bodies.forward_backward(model, seq_id))
    step = driver.submit("optim_step", bodies.optim_step(model, seq_id + 1))
    driver.work()
    return driver.result(step)["metrics"]["weights:unique"]


def test_a_checkpoint_has_the_official_path_and_describes_itself(driver, trained):
    model, path = trained
    assert path == f"tinker://{model}/weights/c1"
    said = driver.good("weights_info", {"tinker_path": path})
    assert said["base_model"] == "local/ledger"
    assert said["is_lora"] is True
    assert said["lora_rank"] == 4


def test_loading_with_the_optimizer_goes_on_as_if_nothing_had_been(driver, bodies, trained):
    model, path = trained
    expected = next_weights(driver, bodies, model, 4)
    driver.submit("load_weights", {"model_id": model, "seq_id": 6, "path": path, "optimizer": True})
    assert next_weights(driver, bodies, model, 7) == expected
    driver.submit("load_weights", {"model_id": model, "seq_id": 9, "path": path, "optimizer": False})
    assert next_weights(driver, bodies, model, 10) != expected


@pytest.mark.parametrize("optimizer", [True, False])
def test_a_model_created_by_loading_goes_on_in_another_session(driver, bodies, trained, optimizer):
    model, path = trained
    expected = next_weights(driver, bodies, model, 4)
    session = driver.session()
    body = {"session_id": session, "model_seq_id": 0, "path": path, "optimizer": optimizer, "type": "load_weights"}
    created = driver.submit("load_weights", body)
    driver.work()
    said = driver.result(created)
    assert said == {"type": "load_weights", "path": path, "model_id": f"{session}:train:0"}
    assert driver.good("get_info", {"model_id": said["model_id"]})["lora_rank"] == 4
    assert (next_weights(driver, bodies, said["model_id"], 1) == expected) is optimizer


def test_operations_pipelined_behind_a_creation_that_fails_fail_with_its_reason(driver, bodies):
    session = driver.session()
    body = {"session_id": session, "model_seq_id": 0, "path": "tinker://a:train:0/weights/none", "optimizer": True}
    created = driver.submit("load_weights", body)
    step = driver.submit("optim_step", bodies.optim_step(f"{session}:train:0", 1))
    driver.work()
    assert "there is no checkpoint" in driver.result(created)["error"]
    assert "could not be created: there is no checkpoint" in driver.result(step)["error"]


def test_a_load_pipelined_behind_its_own_save_finds_it(driver, bodies):
    model = driver.model()
    driver.submit("save_weights", {"model_id": model, "seq_id": 1, "path": "soon"})
    body = {"model_id": model, "seq_id": 2, "path": f"tinker://{model}/weights/soon", "optimizer": True}
    loaded = driver.submit("load_weights", body)
    driver.work()
    assert driver.result(loaded)["type"] == "load_weights"


def test_a_samplers_name_that_is_taken_can_not_be_overwritten(driver, trained):
    model, _ = trained
    first, again = (
        driver.submit("save_weights_for_sampler", {"model_id": model, "seq_id": number, "path": "s1"})
        for number in (4, 5)
    )
    driver.work()
    assert driver.result(first)["path"]
    assert driver.result(again)["error"].endswith("sampler_weights/s1 exists already: use another name.")


def test_a_name_is_taken_unless_it_is_to_be_overwritten(driver, trained):
    model, path = trained
    again = driver.submit("save_weights", {"model_id": model, "seq_id": 4, "path": "c1"})
    over = driver.submit("save_weights", {"model_id": model, "seq_id": 5, "path": "c1", "overwrite": True})
    driver.work()
    assert driver.result(again)["error"].endswith(
        "weights/c1 exists already: save with overwrite=True to replace it, or use another name."
    )
    assert driver.result(again)["category"] == "user"
    assert driver.result(over)["path"] == path


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 256, "with space", "tinker://a/b/c"])
def test_a_name_that_is_no_single_path_part_is_refused(driver, name):
    model = driver.model()
    status, said = driver.call("save_weights_for_sampler", {"model_id": model, "seq_id": 1, "path": name})
    assert status == 400
    assert "can't name a checkpoint" in said["detail"]


def test_a_save_without_a_name_gets_one(driver):
    model = driver.model()
    request_id = driver.submit("save_weights", {"model_id": model, "seq_id": 1, "path": None})
    driver.work()
    assert driver.result(request_id)["path"].startswith(f"tinker://{model}/weights/checkpoint-")


def test_a_checkpoint_of_another_shape_is_not_loaded(driver, trained):
    _, path = trained
    other = driver.model(lora_config={"rank": 8})
    request_id = driver.submit("load_weights", {"model_id": other, "seq_id": 1, "path": path, "optimizer": False})
    driver.work()
    assert "rank 4" in driver.result(request_id)["error"]
    assert "rank 8" in driver.result(request_id)["error"]


def test_sampler_weights_have_no_optimizer_to_load(driver):
    model = driver.model()
    saved = driver.submit("save_weights_for_sampler", {"model_id": model, "seq_id": 1, "path": "s"})
    driver.work()
    path = driver.result(saved)["path"]
    assert path == f"tinker://{model}/sampler_weights/s"
    with_state = driver.submit("load_weights", {"model_id": model, "seq_id": 2, "path": path, "optimizer": True})
    driver.work()
    assert "without the optimizer" in driver.result(with_state)["error"]
    without = driver.submit("load_weights", {"model_id": model, "seq_id": 3, "path": path, "optimizer": False})
    driver.work()
    assert driver.result(without)["type"] == "load_weights"


def greedy(driver, bodies, sampler):
    params = {"max_tokens": 4, "temperature": 0}
    request_id = driver.submit("asample", bodies.sample(sampler, None, sampling_params=params))
    driver.work()
    return driver.result(request_id)["sequences"][0]["tokens"]


def test_saved_and_ephemeral_samplers_of_the_same_weights_draw_the_same(driver, bodies, trained):
    model, _ = trained
    named = driver.submit("save_weights_for_sampler", {"model_id": model, "seq_id": 4, "path": "s"})
    ephemeral = driver.submit(
        "save_weights_for_sampler", {"model_id": model, "seq_id": 5, "sampling_session_seq_id": 0}
    )
    driver.work()
    first = driver.sampler(model_path=driver.result(named)["path"])
    second = driver.result(ephemeral)["sampling_session_id"]
    tokens = greedy(driver, bodies, first)
    assert greedy(driver, bodies, second) == tokens
    assert greedy(driver, bodies, driver.sampler()) != tokens
    next_weights(driver, bodies, model, 6)
    assert greedy(driver, bodies, second) == tokens, "a snapshot stays as it was"
    assert driver.good(f"samplers/{first}", method="GET")["model_path"] == driver.result(named)["path"]


def test_a_sampler_never_changes_to_weights_that_replaced_its_own(driver, bodies, trained):
    model, path = trained
    loaded, lazy = driver.sampler(model_path=path), driver.sampler(model_path=path)
    tokens = greedy(driver, bodies, loaded)
    next_weights(driver, bodies, model, 4)
    driver.submit("save_weights", {"model_id": model, "seq_id": 6, "path": "c1", "overwrite": True})
    driver.work()
    assert greedy(driver, bodies, loaded) == tokens
    assert greedy(driver, bodies, lazy) == tokens, "weights are shared by path"
    assert greedy(driver, bodies, driver.sampler(model_path=path)) != tokens


def test_a_sampler_whose_checkpoint_was_replaced_before_its_first_sample_says_so(driver, bodies, trained):
    model, path = trained
    lazy = driver.sampler(model_path=path)
    driver.submit("save_weights", {"model_id": model, "seq_id": 4, "path": "c1", "overwrite": True})
    driver.work()
    request_id = driver.submit("asample", bodies.sample(lazy))
    driver.work()
    assert "was replaced after this sampler was created" in driver.result(request_id)["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("nonsense", 400), ("tinker://a/b", 400), ("tinker://a/other/b", 400), ("tinker://a:train:0/weights/b", 404)],
)
def test_paths_that_lead_nowhere(driver, path, status):
    body = {"session_id": driver.session(), "sampling_session_seq_id": 0, "model_path": path}
    assert driver.call("create_sampling_session", body)[0] == status
    assert driver.call("weights_info", {"tinker_path": path})[0] == status


def test_the_two_forms_of_load_weights_exclude_each_other(driver):
    model = driver.model()
    both = {"path": "tinker://a/weights/b", "optimizer": True, "model_id": model, "session_id": "s"}
    assert driver.call("load_weights", both)[0] == 422
    assert driver.call("load_weights", {"path": "tinker://a/weights/b", "optimizer": True})[0] == 422
    assert driver.call("save_weights_for_sampler", {"model_id": model, "seq_id": 1})[0] == 422


def test_a_defect_in_the_notes_about_a_save_does_not_stop_its_model(driver, bodies, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no paper")

    monkeypatch.setattr(driver.core.state.audit, "note", broken)
    model = driver.model()
    save = driver.submit("save_weights", {"model_id": model, "seq_id": 1, "path": "a"})
    behind = driver.submit("optim_step", {"model_id": model, "seq_id": 2, "adam_params": {}})
    job = driver.core.next_job("train")
    with pytest.raises(RuntimeError, match="no paper"):
        driver.core.finish(job, job.run(), driver.now)
    driver.work()
    assert driver.result(save)["type"] == "save_weights"
    assert driver.result(behind)["type"] == "optim_step"
