"""A site's properties as text, for the formats that know nothing else.

Each is read by its name: numbers with a decimal point; true or false; lists as JSON or with
semicolons between their items; opening hours as a JSON object; the rest as it stands. Empty text
is no property, names of other properties are left alone.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from doorstep_server.site_files import json_stream
from doorstep_server.site_files.faults import Fault, UnreadableFile, Unusable
from doorstep_server.site_files.features import ExportedSite

#: Of a plain decimal number. Nothing is tried twice, however long it is.
NUMBER = r"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
_NUMBER = re.compile(NUMBER, re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d[\d.]*,\d+", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def read(said: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The properties of a site that texts say. Raises Unusable."""
    found: dict[str, Any] = {}
    for name, text in said:
        key = name.strip().lower()
        if key not in _KINDS or not text:
            continue
        if key in found:
            raise Unusable(Fault.PROPERTY_REPEATED, at=f"properties.{key}")
        value = _KINDS[key](text, f"properties.{key}")
        if value is not None:
            found[key] = value
    return found


def written(site: ExportedSite) -> Iterator[tuple[str, str]]:
    """The texts that `read` reads back to a site's properties; what is None is absent."""
    yield "name", site.name
    for name, value in site.properties.items():
        if value is not None:
            yield name, _written(value)


def number(text: str, at: str) -> float | None:
    """The number of a text, None if it is blank. Raises Unusable."""
    plain = text.strip()
    if not plain:
        return None
    if _NUMBER.fullmatch(plain):
        return float(plain)
    fault = Fault.DECIMAL_COMMA if _DECIMAL_COMMA.fullmatch(plain) else Fault.NOT_A_NUMBER
    raise Unusable(fault, at=at)


def _written(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _verbatim(text: str, _: str) -> str:
    return text


def _word(text: str, _: str) -> str | None:
    return text.strip() or None


def _boolean(text: str, at: str) -> bool | None:
    word = text.strip().lower()
    if word and word not in _BOOLEANS:
        raise Unusable(Fault.NOT_A_BOOLEAN, at=at)
    return _BOOLEANS.get(word)


def _list(text: str, at: str) -> list[str]:
    if not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(";") if item.strip()]
    try:
        return _texts(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Unusable(Fault.NOT_A_LIST, at=at) from None


def _object(text: str, at: str) -> dict[str, Any] | None:
    if not text.strip():
        return None
    try:
        value = json_stream.decode(text.encode())
    except UnreadableFile:
        raise Unusable(Fault.NOT_AN_OBJECT, at=at) from None
    except Unusable as unusable:
        raise Unusable(unusable.fault, at=at) from None
    if not isinstance(value, dict):
        raise Unusable(Fault.NOT_AN_OBJECT, at=at)
    return value


_texts = msgspec.json.Decoder(list[str]).decode

_KINDS: dict[str, Callable[[str, str], Any]] = {
    "name": _verbatim,
    "external_id": _verbatim,
    "timezone": _word,
    "tolerance_m": number,
    "assurance": _word,
    "max_accuracy_m": number,
    "hours": _object,
    "purposes": _list,
    "groups": _list,
    "active": _boolean,
    "radius_m": number,
}
#: in the order in which they are written
NAMES = tuple(name for name in _KINDS if name != "radius_m")
