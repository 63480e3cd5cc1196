"""Reading bodies strictly: what is not exactly as described is refused, with the place.

Litestar would convert (`"52.1"` to a float) and msgspec takes the last of repeated members; a
check-in must not be a guess. `StrictJson` is a Litestar DTO, so handlers stay typed and OpenAPI
describes each body.
"""

import json
import re
from collections.abc import Generator, Iterator
from itertools import islice
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
    """Decode a body, or raise `Refusal` (`malformed-json`, `invalid-body`).

    The items of a list in `RAW_MEMBERS` are kept as they came, to be decoded later, each alone.
    """
    if _is_surely_plain(body):
        try:
            return _decoder(kind).decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # looked at again, for what to say of it
    items = _raw_items(kind, body)
    outside = _outside(body, items)
    try:
        value = _decoder(kind).decode(outside)
    except msgspec.ValidationError as error:
        # raised at the first fault: what comes after it was not read yet
        _require_plain(outside)
        raise Refusal("invalid-body", at=_place(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal("malformed-json") from None
    _require_plain(outside)
    return _with_items(value, body, items)


def _place(error: msgspec.ValidationError) -> str | None:
    """Where the fault is: our own member names only, never what was sent."""
    match = _PLACE.search(str(error))
    return match.group(1).lstrip(".") or None if match else None


#: where a member's name ends; or a string begins with a colon
_NAME_ENDS = re.compile(rb'"[ \t\n\r]*:')
_NAMES = re.compile(rb'"([a-z_]+)"[ \t\n\r]*:')
_anything = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def _is_surely_plain(body: bytes) -> bool:
    """Whether what is JSON has no repeated member, by a glance; if not, it may have none even so.

    Where nothing is escaped, no quotation mark is inside of a string, so no name's end is
    overlooked. Mostly all that end are names like ours, and different. Else repeated members are
    one when they are written again, and several where names end.
    """
    if b"\\" in body:
        return False
    ends = len(_NAME_ENDS.findall(body))
    if len(set(_NAMES.findall(body))) == ends:
        return True
    try:
        # in the same words, as nothing is escaped, and without space
        again = _encoder.encode(_anything.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return again.count(b'":') == ends


class _RepeatedMember(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _RepeatedMember


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


#: numbers are not made again: a long one costs, and Python refuses the longest
_reader = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=bool, parse_float=bool, parse_constant=_no_constant
)
_skipper = json.JSONDecoder(parse_int=bool, parse_float=bool, parse_constant=_no_constant)


def _require_plain(body: bytes) -> None:
    """Refuse what is not JSON to its end, and an object that names a member twice."""
    try:
        _reader.decode(body.decode())
    except _RepeatedMember:
        raise Refusal("malformed-json", reason="repeated-member") from None
    except (ValueError, RecursionError):
        raise Refusal("malformed-json") from None


# -- items that are decoded alone ------------------------------------------------------------

_Span = tuple[int, int]

#: more than any route takes: to know that there are as many is enough
MOST_ITEMS = 1_000

_SPACE = re.compile(r"[ \t\n\r]*")
#: a string, to its end or that of the text; a run of opening brackets, or of closing ones
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]+|[\]}]+', re.DOTALL)


def _raw_items(kind: Any, body: bytes) -> dict[str, list[_Span]]:
    """Where the items are of each list that is kept raw; nothing in a body that is no such JSON."""
    names = getattr(kind, "RAW_MEMBERS", ())
    if not names:
        return {}
    # one character for each byte: an item may be no UTF-8, and JSON's signs are ASCII
    walk = _Walk(body.decode("latin-1"))
    found: dict[str, list[_Span]] = {}
    try:
        for _ in walk.each("{", "}"):
            name = walk.name()
            if name not in names or not walk.is_at("["):
                walk.value()
                continue
            found[name] = list(islice((walk.value() for _ in walk.each("[", "]")), MOST_ITEMS))
            if len(found[name]) == MOST_ITEMS:
                break
    except ValueError:
        return {}
    return found


class _Walk:
    """Steps over the members of an object and the items of a list, whatever they hold."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def each(self, opening: str, closing: str) -> Iterator[None]:
        """Step into a container: once to each of its members, which the caller steps over."""
        self._need(opening)
        if self._take(closing):
            return
        while True:
            yield
            if self._take(closing):
                return
            self._need(",")

    def name(self) -> str:
        """Step over a member's name, to its value."""
        start, end = self.value()
        self._need(":")
        return str(json.loads(self._text[start:end]))

    def value(self) -> _Span:
        """Step over a value."""
        start = self._skip_space()
        try:
            _, self._at = _skipper.raw_decode(self._text, start)
        except RecursionError:
            self._at = _end_of_nested(self._text, start)
        return start, self._at

    def is_at(self, sign: str) -> bool:
        """Whether a sign is next."""
        return self._text.startswith(sign, self._skip_space())

    def _take(self, sign: str) -> bool:
        there = self.is_at(sign)
        self._at += there
        return there

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError("not JSON")

    def _skip_space(self) -> int:
        match = _SPACE.match(self._text, self._at)
        assert match is not None, "no space is space, too"
        self._at = match.end()
        return self._at


def _end_of_nested(text: str, start: int) -> int:
    """Where a value ends that is nested too deep to be read: by its brackets alone."""
    depth = 0
    for match in _NESTING.finditer(text, start):
        run = match[0]
        if run[0] in "[{":
            depth += len(run)
        elif run[0] in "]}":
            depth -= len(run)
        if depth <= 0:
            # the run may close more than this value
            return match.end() + depth
    raise ValueError("it has no end")


def _outside(body: bytes, items: dict[str, list[_Span]]) -> bytes:
    """The body with null for each item: the faults of an item are its own."""
    kept: list[bytes] = []
    last = 0
    for start, end in (span for spans in items.values() for span in spans):
        kept += [body[last:start], b"null"]
        last = end
    return b"".join([*kept, body[last:]])


def _with_items(value: T, body: bytes, items: dict[str, list[_Span]]) -> T:
    if not items:
        return value
    raw = {
        name: [msgspec.Raw(body[start:end]) for start, end in spans]
        for name, spans in items.items()
    }
    assert isinstance(value, msgspec.Struct), "only a struct has such members"
    return msgspec.structs.replace(value, **raw)


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
