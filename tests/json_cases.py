"""Bodies of every kind: those of JSONTestSuite (tests/data), and those that it does not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: planted in what is sent; it must never come back
MARKER = "marker-5d21"

DEPTH = 100_000

_SUITE = Path(__file__).parent / "data" / "json_test_suite_cases.jsonl"


def suite() -> dict[str, bytes]:
    """Every case by its name; the first letter says what is expected."""
    lines = [json.loads(line) for line in _SUITE.read_text().splitlines()]
    return {
        **{case["name"]: case["bytes"].encode("latin-1") for case in lines},
        "n_structure_100000_opening_arrays": b"[" * 100_000,
        "n_structure_open_array_object": b'[{"":' * 50_000 + b"\n",
    }


#: read by everyone, except by who takes no repeated members: a check-in must not be a guess
REPEATED = {"y_object_duplicated_key", "y_object_duplicated_key_and_value"}

#: numbers that no member takes, whatever number it takes
NO_NUMBERS = [
    "NaN", "Infinity", "-Infinity", "+1", "01", ".5", "1.", "0x1", "1e", "1_0", "\uff11",
    "1e400", "-1e400", "1e308", "1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5_000,
    '"nan"', '"12.5"', '"1"', '""', "true", "false", "[]", "[1]", "{}",
    "[" * 500 + "1" + "]" * 500,
]  # fmt: skip

#: values of another kind than a text, and than a truth
NO_TEXTS = ["1", "1.5", "true", "[]", "{}", '["x"]', "NaN", "'x'", "x"]
NO_TRUTHS = ["1", "0", '"true"', '""', "[]", "{}", "True", "TRUE"]


def nested() -> Iterator[tuple[str, bytes]]:
    """Values nested deeper than anybody reads."""
    yield "arrays", b"[" * DEPTH + b"]" * DEPTH
    yield "objects", b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    yield "both", b'[{"a":' * (DEPTH // 2) + b"1" + b"}]" * (DEPTH // 2)


def unreadable(document: bytes) -> Iterator[tuple[str, bytes]]:
    """A valid document, made into what is no plain JSON; and bodies that never were."""
    text = document.decode()
    yield "UTF-8 with a byte order mark", b"\xef\xbb\xbf" + document
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        yield encoding, text.encode(encoding)
    yield "UTF-16-BE with a byte order mark", b"\xfe\xff" + text.encode("utf-16-be")
    yield "UTF-7", b"+AHs-" + document[1:]
    for name, sequence in BAD_UTF8.items():
        yield f"{name} in a value", b'{"%s": "%s"}' % (MARKER.encode(), sequence)
        yield f"{name} in a name", b'{"%s%s": 1}' % (MARKER.encode(), sequence)
        yield f"{name} after the document", document + sequence
    yield "empty", b""
    yield "white space", b" \t\r\n"
    yield "a form feed before it", b"\f" + document
    yield "a no-break space before it", b"\xc2\xa0" + document
    yield "garbage after it", document + MARKER.encode()
    yield "a comma after it", document + b","
    yield "a second document", document + document
    yield "a second line", document + b"\n" + document
    yield "a JSON text sequence", b"\x1e" + document + b"\n"
    yield "a comment", b"/* " + MARKER.encode() + b" */" + document
    yield "a NUL before it", b"\0" + document
    yield "a NUL after it", document + b"\0"
    yield "a NUL in a value", b'{"%s": "\0"}' % MARKER.encode()
    yield "a call", b"f(" + document + b")"
    yield "a guarded document", b")]}'\n" + document
    yield "a form", b"a=" + MARKER.encode()
    yield "no end", document[:-1]
    yield "NaN", b'{"%s": NaN}' % MARKER.encode()


BAD_UTF8 = {
    "overlong slash": b"\xc0\xaf",
    "overlong NUL": b"\xc0\x80",
    "overlong of three bytes": b"\xe0\x80\xaf",
    "high surrogate": b"\xed\xa0\x80",
    "low surrogate": b"\xed\xb0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "truncated": b"\xe2\x82",
    "lone continuation": b"\x80",
    "Latin-1": b"\xe9",
    "no byte of UTF-8": b"\xff",
}

LONE_SURROGATES = [
    r'"\ud800"', r'"\udfff"', r'"\udc00\ud800"', r'"\ud800\n"', r'"\uD83Dx"', r'{"\ud800": 1}',
]  # fmt: skip


def with_leaf(document: Any, texts: dict[type, list[str]]) -> Iterator[tuple[str, bytes]]:
    """A document once for each of its leaves and each text of another kind in the leaf's place."""
    for place, value in leaves(document):
        for text in texts[type(value)]:
            whole = json.dumps(replaced(document, place, HERE))
            yield f"{place} {text[:20]}", whole.replace(f'"{HERE}"', text).encode()


HERE = "here-77e0"

Place = tuple[str | int, ...]


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Each value in a document that holds no other."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def replaced(document: Any, place: Place, value: Any) -> Any:
    """A copy of a document with another value in one place."""
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = replaced(document[place[0]], place[1:], value)
    return copy


def with_repeats(document: Any) -> Iterator[tuple[str, bytes]]:
    """A document once for each of its members, with that one twice: alike, or by an escape."""
    text = json.dumps(document)
    for index, char in enumerate(text):
        if char != '"' or not (match := _name_at(text, index)):
            continue
        escaped = f"\\u{ord(match[0]):04x}{match[1:]}"
        for name in (match, escaped):
            twice = f'{text[:index]}"{name}": null, {text[index:]}'
            yield f"{match} at {index}", twice.encode()


def _name_at(text: str, index: int) -> str | None:
    end = text.find('"', index + 1)
    return text[index + 1 : end] if text[end + 1 : end + 2] == ":" else None
