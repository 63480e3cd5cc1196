"""JSON as a stream: what is built of it is bounded, whatever the file holds.

ijson checks the syntax and the UTF-8 without recursion; nesting, repeated members and sizes are
looked after here.
"""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO

import ijson  # type: ignore[import-untyped]

from doorstep_server.site_files.faults import Fault, UnreadableFile, Unusable
from doorstep_server.site_files.marks import skip_mark

#: A name of what comes next (`start_map`, `map_key`, `number`, …) and its value.
Event = tuple[str, Any]

CHUNK_BYTES = 64 * 1024
#: A position with a height is five events; this is 100,000 of them and room for properties.
MOST_EVENTS = 520_000
MOST_TEXT = 1024 * 1024
#: A MultiPolygon in a FeatureCollection is eight deep; opening hours are shallower.
MOST_DEPTH = 32
#: The parser keeps a token until it is whole.
LONGEST_TOKEN_BYTES = 4 * 1024 * 1024

_STARTS = {"start_map", "start_array"}
_ENDS = {"end_map", "end_array"}


def events(file: BinaryIO) -> Iterator[Event]:
    """What stands in a file, from where it is read to its end. Raises UnreadableFile."""
    return chain.from_iterable(_batches(file))


def skip(first: Event, following: Iterator[Event]) -> None:
    """Step over a value, the first event of which was taken, however deep or long it is."""
    depth = 1 if first[0] in _STARTS else 0
    while depth:
        event, _ = next(following)
        depth += (event in _STARTS) - (event in _ENDS)


def build(first: Event, following: Iterator[Event]) -> Any:
    """Build a value. Raises Unusable, having stepped over it, if it is not one to be kept."""
    if first[0] not in _STARTS:
        return first[1]
    building = _Building(first[0])
    takers, unfinished = building.takers, building.unfinished
    for count, (kind, value) in enumerate(following, start=1):
        fault = takers[kind](value) if count <= MOST_EVENTS else Fault.TOO_LARGE
        if fault is not None:
            _skip_rest(len(unfinished), kind, following)
            raise Unusable(fault)
        if not unfinished:
            break
    return building.root


def decode(text: bytes) -> Any:
    """The one value of a text. Raises UnreadableFile or Unusable."""
    found = events(BytesIO(text))
    value = build(next(found), found)
    for _ in found:  # to the end: what follows the value must be white space
        pass
    return value


def _skip_rest(depth: int, kind: str, following: Iterator[Event]) -> None:
    """Step over what is left of a value after an event that was not taken."""
    depth += (kind in _STARTS) - (kind in _ENDS)
    while depth:
        kind, _ = next(following)
        depth += (kind in _STARTS) - (kind in _ENDS)


class _Building:
    """A value that grows by events: each kind has its taker, which may say why not."""

    def __init__(self, start: str) -> None:
        self.root: Any = {} if start == "start_map" else []
        #: the containers that have not ended, the innermost last
        self.unfinished: list[Any] = [self.root]
        self.takers: dict[str, Callable[[Any], Fault | None]] = {
            "number": self._add,
            "boolean": self._add,
            "null": self._add,
            "string": self._add_text,
            "map_key": self._name,
            "start_map": lambda _: self._start({}),
            "start_array": lambda _: self._start([]),
            "end_map": self._end,
            "end_array": self._end,
        }
        self._key = ""
        self._text = 0

    def _add(self, value: Any) -> None:
        container = self.unfinished[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            container[self._key] = value

    def _add_text(self, value: str) -> Fault | None:
        self._text += len(value)
        self._add(value)
        return Fault.TOO_LARGE if self._text > MOST_TEXT else None

    def _name(self, key: str) -> Fault | None:
        self._text += len(key)
        if key in self.unfinished[-1]:
            return Fault.REPEATED_MEMBER
        self._key = key
        return Fault.TOO_LARGE if self._text > MOST_TEXT else None

    def _start(self, container: Any) -> Fault | None:
        if len(self.unfinished) == MOST_DEPTH:
            return Fault.NESTED_TOO_DEEP
        self._add(container)
        self.unfinished.append(container)
        return None

    def _end(self, _: None) -> None:
        self.unfinished.pop()


def _batches(file: BinaryIO) -> Iterator[list[Event]]:
    skip_mark(file)
    reading = _Reading(file)
    while chunk := file.read(CHUNK_BYTES):
        yield from reading.feed(chunk)
    yield from reading.end()


class _Reading:
    """The parser at work, and how far it has come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self._found: list[Event] = ijson.sendable_list()
        self._parser = _parser(self._found)
        self._fed = 0
        #: how much was fed when something was found last
        self._found_at = 0
        self._is_blank = True

    def feed(self, chunk: bytes) -> Iterator[list[Event]]:
        try:
            self._parser.send(chunk)
        except (ijson.JSONError, ValueError) as error:
            raise UnreadableFile(_fault(error), at=self._place_of_error()) from None
        self._fed += len(chunk)
        self._is_blank = self._is_blank and not chunk.strip()
        if self._found:
            self._found_at = self._fed
        elif self._fed - self._found_at > LONGEST_TOKEN_BYTES:
            raise UnreadableFile(Fault.VALUE_TOO_LONG, at=self._place(self._found_at))
        yield from self._take()

    def end(self) -> Iterator[list[Event]]:
        try:
            self._parser.close()
        except (ijson.JSONError, ValueError) as error:
            fault = Fault.EMPTY if self._is_blank else _fault(error)
            raise UnreadableFile(fault, at=self._place(self._fed)) from None
        yield from self._take()

    def _take(self) -> Iterator[list[Event]]:
        if self._found:
            yield self._found
            self._found.clear()

    def _place_of_error(self) -> str:
        """Where in the last chunk the parser stopped, by reading again: it does not tell."""
        self._file.seek(self._start)
        parser = _parser(ijson.sendable_list())
        for at in range(0, self._fed, CHUNK_BYTES):
            parser.send(self._file.read(min(CHUNK_BYTES, self._fed - at)))
        last = self._file.read(CHUNK_BYTES)
        for at in range(len(last)):
            try:
                parser.send(last[at : at + 1])
            except (ijson.JSONError, ValueError):
                return self._place(self._fed + at)
        return self._place(self._fed)

    def _place(self, distance: int) -> str:
        self._file.seek(0)
        lines = 1
        left = self._start + distance
        while left and (chunk := self._file.read(min(CHUNK_BYTES, left))):
            lines += chunk.count(b"\n")
            left -= len(chunk)
        return f"line {lines}, byte {self._start + distance}"


def _parser(found: list[Event]) -> Any:
    return ijson.basic_parse_coro(found, use_float=True)


def _fault(error: Exception) -> Fault:
    """Why the parser stopped: the rest of its message is from the file."""
    message = error.args[0]
    if isinstance(error, UnicodeDecodeError) or isinstance(message, bytes):
        return Fault.NOT_UTF8
    reason = message.partition("\n")[0]
    if "trailing garbage" in reason:
        return Fault.SEVERAL_DOCUMENTS
    return Fault.NUMBER_TOO_LARGE if "overflow" in reason else Fault.MALFORMED_JSON
