"""Requests, responses and the reading of JSON: no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import NoReturn, TypeVar, cast

from doorstep._value import Unpicklable, Value

T = TypeVar("T")


class Request(Unpicklable, Value):
    """One HTTP request. Its repr shows the method and path only."""

    method: str
    #: absolute
    url: str
    headers: Mapping[str, str]
    body: bytes | None

    def __repr__(self) -> str:
        path = "/" + self.url.partition("://")[2].partition("/")[2].partition("?")[0]
        return f"<Request {self.method} {path}>"


class Response(Unpicklable, Value):
    """One whole HTTP answer. Its repr shows the status only."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's value; names are equal whatever their case."""
        wanted = name.lower()
        return next((v for k, v in self.headers.items() if k.lower() == wanted), None)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Mismatch(Exception):
    """An answer has not the members that the contract says."""


class Document:
    """A JSON object, read member by member; unknown members are left alone."""

    __slots__ = ("_members",)

    def __init__(self, members: object) -> None:
        if not isinstance(members, dict):
            raise Mismatch
        self._members: dict[str, object] = members

    @classmethod
    def of(cls, response: Response) -> Document:
        if "json" not in (response.header("content-type") or ""):
            raise Mismatch
        try:
            return cls(json.loads(response.body))
        except (ValueError, RecursionError):
            pass
        raise Mismatch

    def text(self, name: str) -> str:
        value = self._members.get(name)
        return value if isinstance(value, str) else _mismatch()

    def maybe_text(self, name: str) -> str | None:
        return None if self._members.get(name) is None else self.text(name)

    def whole(self, name: str) -> int:
        value = self._members.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else _mismatch()

    def maybe_whole(self, name: str) -> int | None:
        return None if self._members.get(name) is None else self.whole(name)

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        return value if isinstance(value, bool) else _mismatch()

    def maybe_flag(self, name: str) -> bool | None:
        return None if self._members.get(name) is None else self.flag(name)

    def maybe_day(self, name: str) -> date | None:
        return self._maybe_parsed(name, date.fromisoformat)

    def maybe_time(self, name: str) -> datetime | None:
        return self._maybe_parsed(name, datetime.fromisoformat)

    def child(self, name: str) -> Document:
        return Document(self._members.get(name))

    def children(self, name: str) -> tuple[Document, ...]:
        return tuple(Document(one) for one in self._list(name))

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(one if isinstance(one, str) else _mismatch() for one in self._list(name))

    def others(self, *names: str) -> dict[str, object]:
        """Every member but these."""
        return {name: value for name, value in self._members.items() if name not in names}

    def _list(self, name: str) -> list[object]:
        value = self._members.get(name)
        return cast("list[object]", value) if isinstance(value, list) else _mismatch()

    def _maybe_parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        written = self.maybe_text(name)
        try:
            return None if written is None else parse(written)
        except ValueError:
            pass
        raise Mismatch


def _mismatch() -> NoReturn:
    raise Mismatch


def to_json(document: Mapping[str, object]) -> bytes:
    """Write a body, without the members that are None."""
    return json.dumps(_without_none(document), separators=(",", ":"), allow_nan=False).encode()


def _without_none(value: object) -> object:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value).items()
        return {name: _without_none(one) for name, one in members if one is not None}
    if isinstance(value, list):
        return [_without_none(one) for one in cast("list[object]", value)]
    return value
