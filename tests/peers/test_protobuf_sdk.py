"""The official SDK's own messages read what we write and write what we read, in one process with ours."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")

sdk = pytest.importorskip("tinker.proto.tinker_public_pb2", reason="the official SDK is not installed")

from tinker_actors.protocol.codec.protobuf import requests, schema, serving  # noqa: E402 - after the peer
from tinker_actors.protocol.replies import protobuf_results  # noqa: E402 - after the peer
from tinker_actors.types import Datum, EncodedTextChunk, ImageChunk, ModelInput, SampledSequence, TensorData  # noqa: E402


def batch():
    rng = np.random.default_rng(0)
    sparse = TensorData([0.5, 2.0], "float32", [3, 4], [0, 1, 1, 2], [3, 0])
    chunks = [EncodedTextChunk([1, 2]), ImageChunk(b"\x89PNG", "png", 7), ImageChunk(b"J", "jpeg")]
    return [
        Datum(ModelInput.from_ints(rng.integers(0, 150_000, 300)), {
            "target_tokens": rng.integers(0, 150_000, (300, 2)), "weights": rng.random((300, 2)),
        }),
        Datum(ModelInput.from_ints([1, 2, 3]), {"target_tokens": [1, 2, 3], "weights": sparse}),
        Datum(ModelInput(chunks), {"target_tokens": []}),
    ]  # fmt: skip


def described(descriptor):
    """Everything the wire depends on, of a message and those below it."""
    found, waiting = {}, [descriptor]
    while waiting:
        message = waiting.pop()
        if message.name in found:
            continue
        found[message.name] = sorted(
            (field.number, field.name, field.type, field.is_repeated, field.has_presence,
             field.message_type.name if field.message_type else field.enum_type.name if field.enum_type else "",
             field.containing_oneof.name if field.containing_oneof else "")
            for field in message.fields
        )  # fmt: skip
        waiting += [field.message_type for field in message.fields if field.message_type]
    return found


@pytest.mark.parametrize("name", ["ForwardBackwardRequest", "ForwardBackwardOutput", "SampleResponse"])
def test_every_field_has_the_official_number_and_type(name):
    ours = getattr(schema.messages(), name).DESCRIPTOR
    theirs = sdk.DESCRIPTOR.message_types_by_name[name]
    assert ours.file.pool is not theirs.file.pool
    assert described(ours) == described(theirs)


@pytest.mark.parametrize("config", [None, {"beta": 0.5, "loss_id": "x"}])
def test_the_sdk_reads_our_requests(config):
    body = requests.head("s:train:0", 12) + requests.encode_forward_backward_tail(
        batch(), "dro", config, forward_only=True
    )
    theirs = sdk.ForwardBackwardRequest.FromString(body)
    ours = schema.messages().ForwardBackwardRequest.FromString(body)
    assert (theirs.model_id, theirs.seq_id, theirs.loss_fn, theirs.forward_only) == ("s:train:0", 12, "dro", True)
    assert len(theirs.data) == 3
    assert theirs.data[1].loss_fn_inputs["weights"].sparse_csr.crow_indices == np.array([0, 1, 1, 2], "<i8").tobytes()
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)


@pytest.mark.parametrize("config", [None, {"beta": 0.5, "loss_id": "x"}])
def test_we_write_what_the_sdk_writes(config):
    from tinker import types
    from tinker.proto.request_conv import forward_backward_request_to_proto

    targets = np.array([[1, 2], [3, 4]])
    weights = np.array([[0.5, 1], [0, 2]], np.float32)
    theirs = types.Datum(
        model_input=types.ModelInput(chunks=[
            types.EncodedTextChunk(tokens=[5]), types.ImageChunk(data=b"P", format="png", expected_tokens=1),
        ]),
        loss_fn_inputs={
            "target_tokens": types.TensorData.from_numpy(targets),
            "weights": types.TensorData(data=[0.5, 1, 0, 2], dtype="float32", shape=[2, 2]),
            "sparse": types.TensorData(data=[2.0], dtype="float32", shape=[2, 2], sparse_crow_indices=[0, 0, 1],
                                       sparse_col_indices=[1]),
        },
    )  # fmt: skip
    ours = Datum(
        ModelInput([EncodedTextChunk([5]), ImageChunk(b"P", "png", 1)]),
        {"target_tokens": targets, "weights": weights, "sparse": TensorData([2.0], "float32", [2, 2], [0, 0, 1], [1])},
    )
    given = types.ForwardBackwardInput(data=[theirs], loss_fn="custom", loss_fn_config=config)
    request = types.ForwardBackwardRequest(forward_backward_input=given, model_id="m", seq_id=5)
    official = forward_backward_request_to_proto(request).SerializeToString(deterministic=True)
    tail = requests.encode_forward_backward_tail([ours], "custom", config, forward_only=False)
    body = requests.head("m", 5) + tail
    assert sdk.ForwardBackwardRequest.FromString(body).SerializeToString(deterministic=True) == official


def test_we_read_the_sdk_s_requests():
    request = sdk.ForwardBackwardRequest(model_id="m", seq_id=2, loss_fn="ppo", loss_fn_config={"a": 1.0})
    request.loss_fn_config_v2["a"].number = 1.0
    request.loss_fn_config_v2["s"].text = "t"
    datum = request.data.add()
    datum.model_input.add().encoded_text.tokens = np.array([4, 5], "<i4").tobytes()
    datum.model_input_spans.add().prompt_tokens.length = 2
    tensor = datum.loss_fn_inputs["weights"]
    tensor.dense, tensor.dtype = np.array([0.5, 1.5], "<f4").tobytes(), sdk.DTYPE_FLOAT32
    tensor.shape.append(2)
    got = serving.decode_forward_backward_request(request.SerializeToString())
    given = got.forward_backward_input
    assert (got.model_id, got.seq_id, given.loss_fn, given.loss_fn_config) == ("m", 2, "ppo", {"a": 1.0, "s": "t"})
    assert given.data[0].model_input.chunks[0].tokens.tolist() == [4, 5]
    assert given.data[0].loss_fn_inputs["weights"].data.tolist() == [0.5, 1.5]


def test_the_sdk_s_own_conversion_understands_our_results():
    from tinker.proto.response_conv import deserialize_proto_response
    from tinker.types import ForwardBackwardOutput, SampleResponse

    outputs = [{"logprobs": np.array([-1.0, -2.0], np.float32)}, {"logprobs": np.array([[-3.0]], np.float32)}]
    body = serving.encode_forward_backward_output(outputs, {"loss:sum": 6.0})
    theirs = deserialize_proto_response(body, ForwardBackwardOutput)
    ours = protobuf_results.forward_backward_output(body)
    assert theirs.metrics == ours.metrics == {"loss:sum": 6.0}
    assert theirs.loss_fn_output_type == ours.loss_fn_output_type == "ArrayRecord"
    for official, own in zip(theirs.loss_fn_outputs, ours.loss_fn_outputs, strict=True):
        assert (official["logprobs"].data, official["logprobs"].shape) == (own["logprobs"].data, own["logprobs"].shape)

    ranked = [None, [(5, -0.5), (7, -1.0)], [(9, -3.0)]]
    body = serving.encode_sample_response(
        [SampledSequence("length", [5, 6], [-0.5, -1.0]), SampledSequence("stop", [7])],
        [None, -1.0, -2.0],
        ranked,
        topk_sampled_logprobs=[[[(1, -0.25)], None], None],
        target_prompt_logprobs=np.array([[-1.0], [-2.0]], np.float32),
        prompt_cache_hit_tokens=2,
    )
    theirs = deserialize_proto_response(body, SampleResponse)
    ours = protobuf_results.sample_response(body, 3)
    for official, own in zip(theirs.sequences, ours.sequences, strict=True):
        for name in ("stop_reason", "tokens", "logprobs", "topk_logprobs"):
            assert getattr(official, name) == getattr(own, name), name
    assert theirs.prompt_logprobs == ours.prompt_logprobs == [None, -1.0, -2.0]
    assert theirs.topk_prompt_logprobs == ours.topk_prompt_logprobs == ranked
    assert theirs.prompt_cache_hit_tokens == ours.prompt_cache_hit_tokens == 2
    assert theirs.target_prompt_logprobs.data == ours.target_prompt_logprobs.data == [-1.0, -2.0]


def test_we_read_the_sdk_s_results():
    output = sdk.ForwardBackwardOutput(loss_fn_output_type="x:ArrayRecord", metrics={"a:mean": 1.0})
    record = output.loss_fn_outputs.add(num_datums=2)
    field = record.fields["x"]
    field.data, field.offsets = np.arange(6, dtype="<i4").tobytes(), np.array([0, 8, 24], "<i8").tobytes()
    field.dtype = sdk.DTYPE_INT32
    field.trailing_shape.append(2)
    got = protobuf_results.forward_backward_output(output.SerializeToString())
    assert [each["x"].tolist() for each in got.loss_fn_outputs] == [[[0, 1]], [[2, 3], [4, 5]]]
    sample = sdk.SampleResponse()
    sample.sequences.add(tokens=np.array([1], "<i4").tobytes(), stop_reason=sdk.STOP_REASON_LENGTH)
    assert protobuf_results.sample_response(sample.SerializeToString(), 1).sequences[0].stop_reason == "length"
