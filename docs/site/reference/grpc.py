"""Every RPC and message, from the descriptors of the protos with their comments."""

import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

from reference import markdown

_PROTOS = Path(__file__).resolve().parents[3] / "proto"
_INTRODUCTION = """\
# gRPC

The interfaces of the services. Who may call what: [authorisation](../authorisation.md). Writes have
a `request_id`: the same one again has one effect and one answer. Lists have `page_size` and
`page_token`.

This page is written from `proto/` with its comments.
"""
# Numbers of fields in descriptor.proto, of which the path to a comment is made.
_MESSAGES, _ENUMS, _SERVICES, _METHODS, _FIELDS, _NESTED, _NESTED_ENUMS, _VALUES = (
    4, 5, 6, 2, 2, 3, 4, 2,
)  # fmt: skip
_ENTRY_KEY_AND_VALUE = 2


class ProtoError(Exception):
    """The protos cannot be compiled; what protoc says stands on the screen."""


def files() -> Sequence[FileDescriptorProto]:
    """Return the descriptors of our protos, with their comments.

    Raises:
        ProtoError: they cannot be compiled.
    """
    sources = sorted(path.relative_to(_PROTOS).as_posix() for path in _PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "all.binpb"
        google = resources.files("grpc_tools") / "_proto"
        options = [f"--proto_path={_PROTOS}", f"--proto_path={google}", "--include_source_info"]
        code = protoc.main(["protoc", *options, f"--descriptor_set_out={compiled}", *sources])
        if code != 0:
            message = f"protoc ended with {code} on {_PROTOS}; run `make protos` to see why"
            raise ProtoError(message)
        return FileDescriptorSet.FromString(compiled.read_bytes()).file


def page() -> str:
    """Return the page: services first, then messages, by package."""
    described = [_Described(file) for file in files()]
    parts = [_INTRODUCTION]
    for one in described:
        parts += one.services()
    for one in described:
        parts += one.messages()
    return "\n".join(parts)


class _Described:
    """One proto, with the comments of what it declares."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(one.path): one.leading_comments or one.trailing_comments
            for one in file.source_code_info.location
        }

    def services(self) -> Iterator[str]:
        for at, service in enumerate(self._file.service):
            yield f"## {self._file.package}.{service.name}\n"
            yield self._comment(_SERVICES, at) + "\n"
            rows = [
                (
                    markdown.code(method.name),
                    f"{'stream of ' * method.client_streaming}{_named(method.input_type)}",
                    f"{'stream of ' * method.server_streaming}{_named(method.output_type)}",
                    markdown.cell(self._comment(_SERVICES, at, _METHODS, number)),
                )
                for number, method in enumerate(service.method)
            ]
            yield markdown.table(("RPC", "takes", "gives", "what it does"), rows)

    def messages(self) -> Iterator[str]:
        for at, message in enumerate(self._file.message_type):
            yield from self._message(message, f"{self._file.package}.{message.name}", _MESSAGES, at)
        for at, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, f"{self._file.package}.{enum.name}", _ENUMS, at)

    def _message(self, message: DescriptorProto, name: str, *path: int) -> Iterator[str]:
        yield f"## {name}\n"
        yield self._comment(*path) + "\n"
        entries = {
            f".{name}.{one.name}": one for one in message.nested_type if one.options.map_entry
        }
        rows = [
            (
                markdown.code(field.name),
                _kind(field, entries.get(field.type_name)),
                markdown.cell(self._comment(*path, _FIELDS, number)),
            )
            for number, field in enumerate(message.field)
        ]
        yield markdown.table(("field", "type", "meaning"), rows)
        for at, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, f"{name}.{nested.name}", *path, _NESTED, at)
        for at, enum in enumerate(message.enum_type):
            yield from self._enum(enum, f"{name}.{enum.name}", *path, _NESTED_ENUMS, at)

    def _enum(self, enum: EnumDescriptorProto, name: str, *path: int) -> Iterator[str]:
        yield f"## {name}\n"
        yield self._comment(*path) + "\n"
        rows = [
            (
                markdown.code(value.name),
                str(value.number),
                markdown.cell(self._comment(*path, _VALUES, number)),
            )
            for number, value in enumerate(enum.value)
        ]
        yield markdown.table(("value", "number", "meaning"), rows)

    def _comment(self, *path: int) -> str:
        return " ".join(self._comments.get(path, "").split()).replace("<", "&lt;")


def _kind(field: FieldDescriptorProto, entry: DescriptorProto | None) -> str:
    if entry is not None:
        key, value = entry.field[:_ENTRY_KEY_AND_VALUE]
        return f"map of {_kind(key, None)} to {_kind(value, None)}"
    kind = (
        _named(field.type_name)
        if field.type_name
        else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return f"{'repeated ' * repeated}{'optional ' * field.proto3_optional}{kind}"


def _named(type_name: str) -> str:
    name = type_name.removeprefix(".")
    short = name.rpartition(".")[2]
    if not name.startswith("backbone."):
        return markdown.code(name)
    return f"[{short}](#{name.replace('.', '').lower()})"
