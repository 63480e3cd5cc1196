"""KMZ: a zip archive in which the first KML file counts. Nothing is unpacked to disk."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from doorstep_server.site_files import kml
from doorstep_server.site_files.faults import Fault, UnreadableFile
from doorstep_server.site_files.features import Feature, ReadOptions

#: The list of an archive's files is read at once: this is some 10,000 of them.
LONGEST_LIST_BYTES = 1024 * 1024
MOST_UNPACKED_BYTES = 1024 * 1024 * 1024
#: KML packs about ten to one; monotonous sites written by a program, thirty to one.
HIGHEST_RATIO = 200
#: Below this a high ratio does no harm.
FREE_BYTES = 4 * 1024 * 1024
#: Others unpack with much memory, and no KMZ uses them.
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))

#: All that zipfile raises for archives that are none, damaged or encrypted.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def read(file: BinaryIO, options: ReadOptions) -> Iterator[Feature]:
    """The Placemarks of the archive's KML."""
    with _damage_told():
        archive = zipfile.ZipFile(cast("IO[bytes]", _Archive(file)))
        entry = _kml(archive)
        unpacked = archive.open(entry)
    yield from kml.read(cast("BinaryIO", _Unpacked(unpacked, entry.compress_size)), options)


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except UnreadableFile:
        raise
    except _DAMAGE:
        raise UnreadableFile(Fault.MALFORMED_ZIP) from None


def _kml(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """`doc.kml` or else the first that there is."""
    entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".kml")]
    if not entries:
        raise UnreadableFile(Fault.NO_KML)
    entry = next((entry for entry in entries if entry.filename == "doc.kml"), entries[0])
    if entry.compress_type not in _METHODS:
        raise UnreadableFile(Fault.MALFORMED_ZIP)
    return entry


class _Archive:
    """A file of which no more is read at once than an honest archive needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if 0 <= size <= LONGEST_LIST_BYTES:
            return self._file.read(size)
        found = self._file.read(LONGEST_LIST_BYTES + 1)
        if len(found) > LONGEST_LIST_BYTES:
            raise UnreadableFile(Fault.ZIP_BOMB)
        return found


class _Unpacked:
    """What is unpacked of an entry, as long as it is not too much."""

    def __init__(self, unpacked: IO[bytes], packed_bytes: int) -> None:
        self._unpacked = unpacked
        self._most = min(MOST_UNPACKED_BYTES, max(FREE_BYTES, HIGHEST_RATIO * packed_bytes))
        self._read = 0

    def read(self, size: int) -> bytes:
        with _damage_told():
            chunk = self._unpacked.read(size)
        self._read += len(chunk)
        if self._read > self._most:
            raise UnreadableFile(Fault.ZIP_BOMB)
        return chunk
