"""The messages of peer.proto, made from the file itself: nothing generated is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.message import DecodeError
from grpc_tools import protoc

from refusal import Refusal


def find(variable: str, *places: str) -> Path:
    """A folder of the project: what an environment variable names, or the first of the places in a folder above."""
    if named := os.environ.get(variable):
        return Path(named)
    for parent in Path(__file__).resolve().parents:
        for place in places:
            if (parent / place).is_dir():
                return parent / place
    raise FileNotFoundError(f"{' or '.join(places)}: set {variable}")


def load(folder: Path) -> dict[str, Any]:
    """Message classes by name."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "peer.bin"
        if protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={out}", "peer.proto"]) != 0:
            raise RuntimeError(f"{folder}/peer.proto does not compile")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    classes = message_factory.GetMessages(files)
    return {name.rpartition(".")[2]: kind for name, kind in classes.items()}


pb: dict[str, Any] = load(find("FREEHOLD_SCHEMA", "proto/schema"))


def decode(kind: str, data: bytes) -> Any:
    """A message, or 100."""
    try:
        return pb[kind].FromString(data)
    except DecodeError:
        raise Refusal(100) from None
