"""The mark that programs of one maker put before UTF-8, and that others trip over."""

from typing import BinaryIO

from doorstep_server.site_files.faults import Fault, UnreadableFile

UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def skip_mark(file: BinaryIO) -> None:
    """Step over the mark of UTF-8. Raises UnreadableFile for that of UTF-16."""
    start = file.tell()
    head = file.read(len(UTF8_MARK))
    if head.startswith(_UTF16_MARKS):
        raise UnreadableFile(Fault.NOT_UTF8, at="line 1")
    if head != UTF8_MARK:
        file.seek(start)
