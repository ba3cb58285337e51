"""Reading of the answers of plain endpoints, servers' deviations included."""

from __future__ import annotations

import json

import pytest

from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol.replies import plain

JSON = "application/json"


def js(value) -> bytes:
    return json.dumps(value).encode()


def test_a_description_is_completed():
    info = plain.get_info_response(
        JSON, js({"model_id": "m", "model_data": {"model_name": "Q/q", "tokenizer_id": "Q/q:rev1"}, "is_lora": True})
    )
    assert (info.model_id, info.model_name, info.model_data.tokenizer_id, info.is_lora) == ("m", "Q/q", "Q/q", True)
    bare = plain.get_info_response(JSON, js({"model_id": "m", "model_data": None, "model_name": "Q/q"}))
    assert (bare.model_name, bare.model_data.model_name, bare.lora_rank) == ("Q/q", None, None)


def test_supported_models_are_read_in_every_form():
    models = ["a", {"model_name": "b", "max_context_length": 8}, {"model_id": "c", "arch": "x"}]
    supported = plain.capabilities_response(JSON, js({"supported_models": models})).supported_models
    assert [(model.model_name, model.max_context_length) for model in supported] == [("a", None), ("b", 8), ("c", None)]


def test_the_control_endpoints_answers_are_read():
    session = plain.create_session_response(JSON, js({"session_id": "s", "warning_message": "w"}))
    assert (session.session_id, session.warning_message, session.info_message) == ("s", "w", None)
    body = js({"type": "create_sampling_session", "sampling_session_id": "x"})
    assert plain.create_sampling_session_response(JSON, body).sampling_session_id == "x"
    assert plain.get_sampler_response(JSON, js({"sampler_id": "x", "base_model": "b"})).model_path is None
    assert plain.weights_info_response(JSON, js({"base_model": "b", "lora_rank": 8})).lora_rank == 8
    config, _ = plain.client_config_response(JSON, js({"pjwt_auth_enabled": False, "fwdbwd_max_chunk_len": 5}))
    assert (config.fwdbwd_max_chunk_len, config.fwdbwd_max_chunk_bytes_count) == (5, 5_000_000)


@pytest.mark.parametrize("body", [b'{"detail":"Not Found"}', b'{"error":"x"}', b'{"type":"RequestFailedResponse"}'])
@pytest.mark.parametrize("read", [plain.client_config_response, plain.acknowledgement])
def test_a_failure_is_no_configuration_and_no_sign_of_life(read, body):
    with pytest.raises(APIResponseValidationError, match="failure"):
        read(JSON, body)


def test_an_acknowledgement_may_be_anything_else():
    assert plain.acknowledgement(JSON, b"") is None
    for body in (b'{"status":"accepted"}', b"OK", b"null", b"[]", b"\xff"):
        assert plain.acknowledgement(JSON, body) is None
    assert plain.client_config_response(JSON, b"{}")[0].fwdbwd_max_chunk_len == 1024


def test_of_the_servers_settings_all_is_kept_for_copies():
    said = {"proto_compress_fwdbwd": True, "something_new": 1}
    read, kept = plain.client_config_response(JSON, js(said))
    assert read.proto_compress_fwdbwd is True
    assert json.loads(kept) == said
