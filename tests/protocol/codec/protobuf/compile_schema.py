"""Compile wire.proto into descriptor.py. Needs grpcio-tools: `pip install grpcio-tools`, then run this file.

The package itself needs no compiler: the module made here holds the serialized FileDescriptorProto.
"""

from __future__ import annotations

import base64
import tempfile
import textwrap
from pathlib import Path

PACKAGE = Path(__file__).parents[4] / "tinker_actors" / "protocol" / "codec" / "protobuf"
SOURCE = PACKAGE / "wire.proto"
TARGET = PACKAGE / "descriptor.py"

_MODULE = '''"""Descriptor: wire.proto, compiled.

Made by tests/protocol/codec/protobuf/compile_schema.py; change wire.proto instead.
"""

from __future__ import annotations

FILE_DESCRIPTOR = (
{lines}
)
"""The serialized FileDescriptorProto in base64."""
'''


def compiled() -> bytes:
    """Return the serialized FileDescriptorProto of wire.proto, comments left out."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.bin"
        command = ["protoc", f"--proto_path={SOURCE.parent}", f"--descriptor_set_out={target}", SOURCE.name]
        if protoc.main(command):
            raise ValueError(f"{SOURCE.name} does not compile; see above.")
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    return files.file[0].SerializeToString(deterministic=True)


def module_text(descriptor: bytes) -> str:
    """Return the source of descriptor.py."""
    lines = textwrap.wrap(base64.b64encode(descriptor).decode("ascii"), 108)
    return _MODULE.format(lines="\n".join(f'    b"{line}"' for line in lines))


if __name__ == "__main__":
    TARGET.write_text(module_text(compiled()))
