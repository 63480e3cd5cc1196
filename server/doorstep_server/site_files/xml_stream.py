"""XML as a stream: of a file only the elements that hold sites are built, one at a time.

Expat reads without recursion and keeps little. Document types are refused, so there are no
entities that could grow; depth and sizes are bounded here.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from doorstep_server.site_files.faults import Fault, UnreadableFile

CHUNK_BYTES = 64 * 1024
MOST_DEPTH = 256
#: Of one element with all that is in it: a fence of 100,000 positions has about five million.
MOST_TEXT = 8 * 1024 * 1024
#: What an element weighs beside its text.
_ELEMENT_WEIGHT = 256
#: The parser keeps a tag or a comment until it is whole, but text it passes on.
LONGEST_TOKEN_BYTES = 1024 * 1024
_ENCODINGS = frozenset(("utf-8", "utf-16", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"))


@dataclass(kw_only=True, slots=True)
class Element:
    """An element that was built."""

    #: without its namespace if that is the document's; else after it and a space
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    children: list["Element"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text right in it."""
        return "".join(self.pieces)

    def all(self, *path: str) -> Iterator["Element"]:
        """The elements below it at the end of a path of tags."""
        if not path:
            yield self
            return
        for child in self.children:
            if child.tag == path[0]:
                yield from child.all(*path[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An element that was looked for."""

    #: such as "Placemark 12": counted from 1
    place: str
    tag: str
    #: None if it is larger than any that is built, or is not to be built
    element: Element | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sought:
    """What to look for."""

    root: str
    #: to be built
    built: str
    #: only to be named
    named: frozenset[str]


def find(file: BinaryIO, sought: Sought) -> Iterator[Found]:
    """The elements that are sought, in order. Raises UnreadableFile."""
    building = _Building(sought)
    reading = _Reading(building)
    is_empty = True
    while chunk := file.read(CHUNK_BYTES):
        is_empty = False
        reading.feed(chunk)
        yield from building.take()
    if is_empty:
        raise UnreadableFile(Fault.EMPTY)
    reading.end()
    yield from building.take()


class _Reading:
    """The parser at work."""

    def __init__(self, building: "_Building") -> None:
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = _declare
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = building.start
        parser.EndElementHandler = building.end
        parser.CharacterDataHandler = building.text
        self._fed = 0

    def feed(self, chunk: bytes) -> None:
        self._parse(chunk, is_final=False)
        self._fed += len(chunk)
        if self._fed - self._parser.CurrentByteIndex > LONGEST_TOKEN_BYTES:
            raise UnreadableFile(Fault.VALUE_TOO_LONG, at=self._place())

    def end(self) -> None:
        self._parse(b"", is_final=True)

    def _parse(self, chunk: bytes, *, is_final: bool) -> None:
        try:
            self._parser.Parse(chunk, is_final)
        except expat.ExpatError:
            raise UnreadableFile(Fault.MALFORMED_XML, at=self._place()) from None
        except UnreadableFile as unreadable:
            raise UnreadableFile(unreadable.fault, at=self._place()) from None

    def _place(self) -> str:
        return f"line {self._parser.CurrentLineNumber}"


def _declare(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise UnreadableFile(Fault.UNKNOWN_ENCODING)


def _refuse_doctype(*_: object) -> None:
    raise UnreadableFile(Fault.DOCTYPE)


class _Building:
    """Builds the elements that are sought, out of the parser's calls."""

    def __init__(self, sought: Sought) -> None:
        self._sought = sought
        self._namespace: str | None = None
        self._depth = 0
        self._counts: Counter[str] = Counter()
        self._found: list[Found] = []
        #: the sought element in which we are, and its depth; "" and 0 outside
        self._tag, self._inside = "", 0
        #: what is being built, from the sought element inwards; empty if nothing is
        self._open: list[Element] = []
        self._weight = 0

    def take(self) -> Iterator[Found]:
        """What was found since the last call."""
        yield from self._found
        self._found.clear()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise UnreadableFile(Fault.TOO_DEEP)
        tag = self._local(name)
        if self._open:
            self._open_element(tag, attributes)
        elif not self._inside and tag in (self._sought.built, *self._sought.named):
            self._tag, self._inside, self._weight = tag, self._depth, 0
            if tag == self._sought.built:
                self._open_element(tag, attributes)

    def text(self, text: str) -> None:
        if self._open:
            self._open[-1].pieces.append(text)
            self._weigh(len(text))

    def end(self, _name: str) -> None:
        element = self._open.pop() if self._open else None
        if self._depth == self._inside:
            self._counts[self._tag] += 1
            place = f"{self._tag} {self._counts[self._tag]}"
            self._found.append(Found(place=place, tag=self._tag, element=element))
            self._inside = 0
        self._depth -= 1

    def _open_element(self, tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag=tag, attributes=attributes)
        if self._open:
            self._open[-1].children.append(element)
        self._open.append(element)
        self._weigh(_ELEMENT_WEIGHT)
        for name, text in attributes.items():
            self._weigh(len(name) + len(text))

    def _weigh(self, weight: int) -> None:
        self._weight += weight
        if self._weight > MOST_TEXT:
            self._open.clear()

    def _local(self, name: str) -> str:
        namespace, _, tag = name.rpartition(" ")
        if self._namespace is None:
            self._namespace = namespace
            if tag != self._sought.root:
                raise UnreadableFile(Fault.OTHER_FORMAT)
        return tag if namespace in {"", self._namespace} else name
