"""Canaries: values that are sent once and known again in whatever bytes they could turn up.

Each is unique, and is looked for in every spelling that a program might write it in. Spellings are
long enough that chance does not make them; the few that are not are believed in pairs only.
"""

import base64
import hashlib
import math
import random
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import product
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from doorstep_server.credentials import ALPHABET

#: digits after the point that make a coordinate one of a person: 5 are about a metre
DECIMALS = 5


class Kind(StrEnum):
    """What a canary stands for."""

    POSITION = "position"
    ACCURACY = "accuracy"
    #: of a check-in whose purpose keeps it, sealed, for disputes
    EXACT = "exact position"
    #: where an authorized location is: of no person
    FENCE = "fence"
    DEVICE_TOKEN = "device token"
    API_KEY = "api key"
    CODE = "enrollment code"
    #: the part of a token or key by which it is found: it is no secret, but somebody's
    KID = "id of a token or key"
    #: what looks like a credential and is none
    FORGED = "forged credential"
    ADDRESS = "address"
    EXTERNAL_ID = "external id"
    MODEL = "device model"
    INSTALLATION = "installation id"
    #: names and titles that a tenant gives to its own things
    NAME = "name"
    #: what a tenant said once and then changed
    REPLACED = "replaced name"
    #: ids of persons that were erased, and of their devices
    ERASED = "id of an erased person"
    #: text where it does not belong
    STRAY = "stray text"
    PASSWORD = "database password"
    #: what the keyring holds, and what wraps it
    KEYRING = "secret of the keyring"
    ROOT = "root of the keyring"


@dataclass(frozen=True)
class Spelling:
    """One way to write a canary down."""

    form: str
    pattern: bytes
    #: not behind another digit: the end of a longer number is another number
    first: bool = False
    #: nor between letters and digits, where chance could make it
    alone: bool = False
    #: so short that chance makes it in some megabytes of ciphertext: one alone says nothing
    weak: bool = False


@dataclass(frozen=True)
class Canary:
    """A value, by what it stands for and by where it was sent."""

    kind: Kind
    sent: str
    spellings: tuple[Spelling, ...] = field(repr=False)


@dataclass(frozen=True)
class Hit:
    """A canary in some bytes: what it is of and how it is written, never its value."""

    canary: Canary
    form: str
    at: int


# -- spellings --------------------------------------------------------------------------------


def of_number(value: float) -> Iterator[Spelling]:
    """A coordinate or an accuracy, as text and as a double."""
    for digits in sorted(_decimal_texts(abs(value))):
        yield Spelling("decimals", digits.encode(), first=True)
        yield Spelling("decimals with a comma", digits.replace(".", ",").encode(), first=True)
    for digits in sorted(_scientific_texts(abs(value))):
        yield Spelling("scientific", digits.encode(), first=True)
    for digits in sorted(_whole_numbers(abs(value))):
        yield Spelling("whole number", digits.encode(), alone=True)
    for number, order in product((value, -value, math.radians(value)), "<>"):
        packed = struct.pack(order + "d", number)
        yield Spelling("double", packed)
        yield from _of_hex("double in hex", packed)


def _decimal_texts(size: float) -> set[str]:
    """The beginnings of every text with that many decimals or more, cut or rounded."""
    length = len(f"{int(size)}.") + DECIMALS
    whole = {f"{size:.{n}f}"[:length] for n in range(DECIMALS, 18)}
    return whole | {repr(size)[:length]}


def _scientific_texts(size: float) -> set[str]:
    """The same digits behind a point that was moved to the first of them: 2.35e1, 0.235e2."""
    digits = len(str(int(size))) + DECIMALS
    written = {f"{size:.{n}e}"[: digits + 1] for n in range(digits - 1, 18)}
    return written | {"0." + text.replace(".", "") for text in written}


def _whole_numbers(size: float) -> set[str]:
    """Of fractions of a degree or a metre: 1e-5 and finer, E7 as receivers give it among them."""
    scaled = [size * 10**n for n in range(DECIMALS, 10)]
    numbers = {number for each in scaled for number in (int(each), round(each))}
    # fewer digits stand in many places for other reasons
    return {str(number) for number in numbers if number >= 1_000_000}


def of_pair(lat: float, lon: float) -> Iterator[Spelling]:
    """Numbers so short that only both together are looked for: single floats, E7 integers."""
    for a, b in ((lat, lon), (lon, lat)):
        for order, between in product("<>", (b"", b"\xca", b"\xd2")):
            floats = [struct.pack(f"{order}f", each) for each in (a, b)]
            yield Spelling("single floats", between.join(floats))
            for scale in (6, 7):
                whole = [struct.pack(f"{order}i", round(each * 10**scale)) for each in (a, b)]
                yield Spelling(f"E{scale} integers", between.join(whole))


def of_text(text: str, form: str = "text") -> Iterator[Spelling]:
    """Text, as it is and in the encodings that hide text from a reader."""
    raw = text.encode()
    yield Spelling(form, raw)
    yield Spelling(f"{form} in UTF-16", text.encode("utf-16-le"))
    yield from _of_hex(f"{form} in hex", raw)
    yield from _of_base64(f"{form} in base64", raw)


def hashed(text: str) -> Iterator[Spelling]:
    """Without a key: whoever guesses the text knows it again."""
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, text.encode(), usedforsecurity=False).digest()
        yield Spelling(name, digest[:12])
        yield from _of_hex(f"{name} in hex", digest[:12])


def of_credential(text: str) -> Iterator[Spelling]:
    """A key or a token: whole, its secret, half its secret, the secret's bytes."""
    secret = text.rpartition("_")[2]
    yield from of_text(text, "whole")
    for form, part in (("secret", secret), ("half of the secret", secret[:32])):
        yield Spelling(form, part.encode())
        yield Spelling(form, part.upper().encode())
    raw = bytes.fromhex(secret)
    yield Spelling("secret's bytes", raw[:16])
    # without the quotes, which go by what is between them
    yield Spelling("secret's bytes as Python shows them", repr(raw[:16])[2:-1].encode())
    yield from _of_base64("secret in base64", raw[:24])
    yield from hashed(text)


def of_code(text: str) -> Iterator[Spelling]:
    """An enrollment code as shown and as typed, and its part that is random."""
    plain = text.replace("-", "").lower()
    for form, written in (("as shown", text), ("as typed", plain), ("random part", plain[6:])):
        yield Spelling(form, written.encode())
        yield Spelling(form, written.upper().encode())
    yield Spelling("random part as shown", text.partition("-")[2].encode())
    yield from _of_base64("whole in base64", plain.encode())
    yield from hashed(plain)


def of_address(address: IPv4Address | IPv6Address) -> Iterator[Spelling]:
    """An address of the network: text, bytes, number."""
    for text in {str(address), address.exploded}:
        yield from of_text(text)
        yield from hashed(text)
    yield Spelling("number", str(int(address)).encode(), alone=True)
    yield Spelling("packed", address.packed, weak=address.version == 4)
    for written in (address.packed.hex(), address.packed.hex().upper()):
        yield Spelling("packed in hex", written.encode(), alone=True)
    if isinstance(address, IPv4Address):
        yield Spelling("mapped to IPv6", b"\xff\xff" + address.packed)


def of_uuid(uuid: UUID) -> Iterator[Spelling]:
    """An id."""
    yield Spelling("text", str(uuid).encode())
    yield from of_secret(uuid.bytes)


def of_secret(secret: bytes) -> Iterator[Spelling]:
    """Random bytes."""
    yield Spelling("bytes", secret[:16])
    # as Python prints bytes; if they are all printable, that is how they are anyway
    yield Spelling("bytes as Python writes them", repr(secret[:16])[2:-1].encode())
    yield from _of_hex("hex", secret[:16])
    yield from _of_base64("base64", secret[:24])


def _of_hex(form: str, raw: bytes) -> Iterator[Spelling]:
    yield Spelling(form, raw.hex().encode())
    yield Spelling(form, raw.hex().upper().encode())


def _of_base64(form: str, raw: bytes) -> Iterator[Spelling]:
    """Wherever in a longer text it begins: what is the same whatever stands around it."""
    for shift in range(3):
        padded = bytes(shift) + raw
        whole = len(padded) // 3 * 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            first = (shift * 8 + 5) // 6
            yield Spelling(form, encode(padded[:whole])[first:])


# -- making them ------------------------------------------------------------------------------


class Canaries:
    """Makes canaries and remembers them all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.all: list[Canary] = []
        # how the numbers begin that were drawn
        self._begun: set[str] = set()

    def _drawn(self, low: float, high: float) -> float:
        """A number that begins as none before it: one is not to be taken for another."""
        while True:
            value = self.random.uniform(low, high)
            begins = _decimal_texts(abs(value))
            if self._begun.isdisjoint(begins):
                self._begun |= begins
                return value

    def add(self, kind: Kind, sent: str, spellings: Iterable[Spelling]) -> None:
        self.all.append(Canary(kind, sent, tuple(spellings)))

    def number(self, kind: Kind, sent: str, low: float, high: float) -> float:
        """A number with all the digits that a double has, none of them by chance a round one."""
        value = self._drawn(low, high)
        self.add(kind, sent, of_number(value))
        return value

    def place(
        self, sent: str, around: tuple[float, float], reach: float, kind: Kind = Kind.POSITION
    ) -> dict[str, float]:
        """A position near another, as the members of a fix."""
        lat, lon = (self._drawn(at - reach, at + reach) for at in around)
        self.position(sent, lat, lon, kind)
        return {"lat": lat, "lon": lon}

    def position(self, sent: str, lat: float, lon: float, kind: Kind = Kind.POSITION) -> None:
        self.add(kind, f"lat of {sent}", of_number(lat))
        self.add(kind, f"lon of {sent}", of_number(lon))
        self.add(kind, f"lat and lon of {sent}", of_pair(lat, lon))

    def anywhere(self, sent: str) -> dict[str, float]:
        """A position far from all others, and of degrees that could not be seconds of a time."""
        lat, lon = (
            self.random.choice((-1, 1)) * self.random.uniform(60, most) for most in (85, 179)
        )
        self.position(sent, lat, lon)
        return {"lat": lat, "lon": lon}

    def text(self, kind: Kind, sent: str, prefix: str = "") -> str:
        """A text that is one word wherever words are taken."""
        made = prefix + "".join(self.random.choice("bcdfghjkmnpqrstvwxz") for _ in range(16))
        self.add(kind, sent, [*of_text(made), *hashed(made)])
        return made

    def credential(self, kind: Kind, sent: str, text: str) -> str:
        self.add(kind, sent, of_credential(text))
        if kind is not Kind.FORGED:
            self.add(Kind.KID, sent, of_text(text.split("_")[1]))
        return text

    def forged(self, sent: str, prefix: str, kid: str | None = None) -> str:
        """What has the shape of a credential."""
        made = kid or "".join(self.random.choice(ALPHABET) for _ in range(16))
        text = f"{prefix}_{made}_{self.random.randbytes(32).hex()}"
        return self.credential(Kind.FORGED, sent, text)

    def code(self, sent: str, text: str) -> str:
        self.add(Kind.CODE, sent, of_code(text))
        return text

    def address(self, sent: str, text: str) -> str:
        self.add(Kind.ADDRESS, sent, of_address(ip_address(text)))
        return text


# -- finding them -----------------------------------------------------------------------------

_Windows = NDArray[np.uint64]
_BITS = 22
_MIX = np.uint64(0x9E3779B97F4A7C15)
#: looked through at once; a pattern that lies over the border is found in both
_CHUNK = 1 << 22
_OVERLAP = 256


class Finder:
    """Looks for all spellings of many canaries at once.

    Every place in the bytes is asked whether a pattern could begin there, by the first eight bytes
    (four for the few that are shorter); what could, is compared whole.
    """

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._by_pattern: dict[bytes, list[tuple[Canary, Spelling]]] = defaultdict(list)
        for canary in canaries:
            for spelling in canary.spellings:
                self._by_pattern[spelling.pattern].append((canary, spelling))
        patterns = self._by_pattern.keys()
        assert all(4 <= len(pattern) <= _OVERLAP for pattern in patterns)
        self._tables = [
            _Beginnings(8, [p for p in patterns if len(p) >= 8]),
            _Beginnings(4, [p for p in patterns if len(p) < 8]),
        ]

    def hits(self, content: bytes) -> list[Hit]:
        """Every canary in some bytes. Weak spellings count when there are two canaries of them."""
        found = [hit for table in self._tables for hit in self._found(table, content)]
        strong = [hit for hit, weak in found if not weak]
        weak = [hit for hit, weak in found if weak]
        return strong + (weak if len({hit.canary for hit in weak}) > 1 else [])

    def _found(self, table: "_Beginnings", content: bytes) -> Iterator[tuple[Hit, bool]]:
        for at, pattern in table.matches(content):
            for canary, spelling in self._by_pattern[pattern]:
                if _stands_right(spelling, content, at):
                    yield Hit(canary, spelling.form, at), spelling.weak


def _stands_right(spelling: Spelling, content: bytes, at: int) -> bool:
    end = at + len(spelling.pattern)
    before, behind = content[max(at - 1, 0) : at], content[end : end + 1]
    if spelling.alone:
        return not (before.isalnum() or behind.isalnum())
    return not (spelling.first and before.isdigit())


class _Beginnings:
    """Patterns by how they begin: so many first bytes as one number."""

    def __init__(self, width: int, patterns: Iterable[bytes]) -> None:
        self._width = width
        self._patterns: dict[int, set[bytes]] = defaultdict(set)
        for pattern in patterns:
            self._patterns[int.from_bytes(pattern[:width], "little")].add(pattern)
        self._sorted = np.array(sorted(self._patterns), dtype=np.uint64)
        #: by the mixed number's first bits: False where no pattern can begin
        self._possible = np.zeros(1 << _BITS, dtype=bool)
        self._possible[_mixed(self._sorted)] = True

    def matches(self, content: bytes) -> Iterator[tuple[int, bytes]]:
        """Where which pattern lies."""
        seen: set[tuple[int, bytes]] = set()
        for start in range(0, len(content), _CHUNK):
            part = content[start : start + _CHUNK + _OVERLAP]
            # much of a database's files is empty
            if part.count(0) == len(part):
                continue
            for at, first in self._candidates(part):
                for pattern in self._patterns[first]:
                    if part.startswith(pattern, at) and (start + at, pattern) not in seen:
                        seen.add((start + at, pattern))
                        yield start + at, pattern

    def _candidates(self, part: bytes) -> Iterator[tuple[int, int]]:
        for shift in range(self._width):
            count = (len(part) - shift) // self._width
            if count <= 0:
                return
            kind = f"<u{self._width}"
            windows = np.frombuffer(part, dtype=kind, offset=shift, count=count).astype(np.uint64)
            [likely] = np.nonzero(self._possible[_mixed(windows)] & (windows != 0))
            numbers = windows[likely]
            places = np.searchsorted(self._sorted, numbers).clip(max=len(self._sorted) - 1)
            for index in likely[self._sorted[places] == numbers]:
                yield int(index) * self._width + shift, int(windows[index])


def _mixed(numbers: _Windows) -> NDArray[np.int64]:
    return ((numbers * _MIX) >> np.uint64(64 - _BITS)).astype(np.int64)
