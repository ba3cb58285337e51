"""The checked-in descriptor is wire.proto, and it keeps to itself."""

from __future__ import annotations

import base64
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from tinker_actors.protocol.codec.protobuf import schema
from tinker_actors.protocol.codec.protobuf.descriptor import FILE_DESCRIPTOR

HERE = Path(__file__).parent
SOURCE = Path(schema.__file__).with_name("wire.proto")
FILE = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(FILE_DESCRIPTOR))
Kind = descriptor_pb2.FieldDescriptorProto


def load_script():
    spec = importlib.util.spec_from_file_location("compile_schema", HERE / "compile_schema.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_checked_in_module_is_what_the_compiler_makes_of_the_source():
    pytest.importorskip("grpc_tools")
    script = load_script()
    assert script.module_text(script.compiled()) == script.TARGET.read_text()


def declared(source):
    """What the source says, line by line: `(message, field) -> (number, type, how)`, and the enums' values."""
    fields, values = {}, {}
    message = oneof = enum = None
    for line in re.sub(r"//.*", "", source).splitlines():
        text = line.strip()
        if found := re.fullmatch(r"(message|enum|oneof) (\w+) \{", text):
            kind, name = found.groups()
            message, enum, oneof = {"message": (name, None, None), "enum": (None, name, None)}.get(
                kind, (message, None, name)
            )
        elif text == "}":
            message, oneof = (message, None) if oneof else (None, None)
        elif enum and (found := re.fullmatch(r"(\w+) = (\d+);", text)):
            values[enum, found[1]] = int(found[2])
        elif found := re.fullmatch(r"(?:(optional|repeated) )?(map<[^>]+>|\w+) (\w+) = (\d+);", text):
            how = found[1] or (f"oneof {oneof}" if oneof else "plain")
            fields[message, found[3]] = (int(found[4]), found[2].replace(" ", ""), how)
    return fields, values


def compiled(file):
    """The same, of a descriptor."""

    def type_name(field):
        if field.type_name:
            return field.type_name.removeprefix(f".{schema.PACKAGE}.")
        return Kind.Type.Name(field.type).removeprefix("TYPE_").lower()

    fields, values = {}, {}
    for message in file.message_type:
        entries = {f"{message.name}.{entry.name}": entry for entry in message.nested_type}
        for field in message.field:
            kind = type_name(field)
            how = "repeated" if field.label == Kind.LABEL_REPEATED else "plain"
            if kind in entries:
                kind = f"map<{','.join(type_name(part) for part in entries[kind].field)}>"
                how = "plain"
            elif field.proto3_optional:
                how = "optional"
            elif field.HasField("oneof_index"):
                how = f"oneof {message.oneof_decl[field.oneof_index].name}"
            fields[message.name, field.name] = (field.number, kind, how)
    for enum in file.enum_type:
        values.update({(enum.name, value.name): value.number for value in enum.value})
    return fields, values


def test_the_descriptor_says_what_the_source_says():
    """The same comparison for those who have no compiler."""
    fields, values = declared(SOURCE.read_text())
    assert len(fields) > 60
    assert (fields, values) == compiled(FILE)
    assert (FILE.package, FILE.syntax) == (schema.PACKAGE, "proto3")


def test_the_messages_live_in_a_pool_of_their_own():
    default = descriptor_pool.Default()
    assert schema.messages().SampleResponse.DESCRIPTOR.file.pool is not default
    with pytest.raises(KeyError):
        default.FindMessageTypeByName(f"{schema.PACKAGE}.SampleResponse")


def test_a_stranger_with_the_same_file_name_can_live_in_the_default_pool():
    other = descriptor_pb2.FileDescriptorProto(name=FILE.name, package="somebody.else")
    other.message_type.add(name="SampleResponse")
    descriptor_pool.Default().AddSerializedFile(other.SerializeToString())
    assert not schema.messages().SampleResponse().sequences


def test_protobuf_is_loaded_when_the_first_message_is_read_and_not_before():
    code = """
import sys
import tinker_actors
from tinker_actors.protocol.replies import protobuf_results
from tinker_actors.protocol.codec.protobuf import arrays, compression, requests, schema, serving
from tinker_actors.types import Datum, ModelInput
requests.encode_forward_backward_tail(
    [Datum(ModelInput.from_ints([1]), {"target_tokens": [1]})], "cross_entropy", None, forward_only=False)
assert not [name for name in sys.modules if name.startswith("google.protobuf") or name == "zstandard"]
schema.messages()
assert "google.protobuf" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parents[2], timeout=60)
