"""Reading bodies strictly: what is not exactly as described is refused, with the place.

Litestar would convert (`"52.1"` to a float) and msgspec takes the last of repeated members; a
check-in must not be a guess. `StrictJson` is a Litestar DTO, so handlers stay typed and OpenAPI
describes each body.
"""

import json
import re
from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from doorstep_server.problems import Refusal

T = TypeVar("T")

_KIB = 1024
#: per route; the app's default is the smallest
SMALL_BODY_BYTES = 64 * _KIB
BATCH_BODY_BYTES = 1024 * _KIB
GEOFENCE_BODY_BYTES = 4096 * _KIB

#: msgspec ends its messages with the place, made of our member names and indexes
_PLACE = re.compile(r" - at `(?:key in )?\$((?:\.[a-z_]+|\[\d+\]|\[\.\.\.\])*)`$")
_JSON_TYPE = re.compile(r"application/json(\s*;\s*charset=\"?utf-8\"?)?\s*", re.IGNORECASE)


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind, strict=True)
    return _decoders[kind]


def decode(kind: type[T], body: bytes) -> T:
    """Decode a body, or raise `Refusal` (`malformed-json`, `invalid-body`)."""
    try:
        value = _decoder(kind).decode(body)
        if _repeats_a_member(_outside_of_raw_members(value, body)):
            raise Refusal("malformed-json", reason="repeated-member")
    except msgspec.ValidationError as error:
        raise Refusal("invalid-body", at=_place(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal("malformed-json") from None
    return value


def _place(error: msgspec.ValidationError) -> str | None:
    """Where the fault is: our own member names only, never what was sent."""
    match = _PLACE.search(str(error))
    return match.group(1).lstrip(".") or None if match else None


def _outside_of_raw_members(value: object, body: bytes) -> bytes:
    """The body with null for each part that is decoded later, alone: its faults are its own."""
    kept: list[bytes] = []
    end = 0
    for name in getattr(value, "RAW_MEMBERS", ()):
        for raw in getattr(value, name):
            part = bytes(raw)
            start = body.index(part, end)
            kept += [body[end:start], b"null"]
            end = start + len(part)
    return b"".join([*kept, body[end:]])


class _RepeatedMember(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _RepeatedMember


def _repeats_a_member(body: bytes) -> bool:
    """Whether an object in the (valid) body names a member twice."""
    try:
        # numbers are not read again: a long one costs, and Python refuses the longest
        json.loads(body, object_pairs_hook=_once, parse_int=bool, parse_float=bool)
    except _RepeatedMember:
        return True
    return False


class StrictJson(AbstractDTO[T]):
    """`dto=StrictJson[Body]` on a handler: the body is decoded by `decode`."""

    def decode_bytes(self, value: bytes) -> T:
        """Check that the body is plain JSON, then decode it."""
        headers = self.asgi_connection.headers
        encodings = {value.lower() for value in headers.getall("content-encoding", ["identity"])}
        plain = encodings == {"identity"} and len(headers.getall("content-type", [])) == 1
        if not plain or not _JSON_TYPE.fullmatch(headers.get("content-type", "")):
            raise Refusal("unsupported-media-type")
        return decode(self.model_type, value)

    @classmethod
    def create_for_field_definition(cls, *_: Any, **__: Any) -> None:
        """No transfer models: bodies are decoded straight into what the handler takes."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The schema of the body itself."""
        del field_definition, handler_id
        schema: Reference | Schema = schema_creator.for_field_definition(
            FieldDefinition.from_annotation(cls.model_type)
        )
        return schema

    @classmethod
    def generate_field_definitions(
        cls, model_type: type[Any]
    ) -> Generator[DTOFieldDefinition, None, None]:
        """Not used: there are no transfer models."""
        raise NotImplementedError

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Not used: there are no transfer models."""
        raise NotImplementedError
