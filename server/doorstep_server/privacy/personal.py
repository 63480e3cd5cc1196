"""What is kept of a person and of a device of theirs, sealed under the person's key.

In the database nobody can read it, and when the key is destroyed nobody ever can. Sealed anew it
is other bytes, so of a table that is written anew as a whole nobody can tell what has changed.
"""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import msgspec

from doorstep_server.privacy.keys import SubjectKeys
from doorstep_server.privacy.permission import Permission
from doorstep_server.privacy.unlinkable import seal_personal, unseal_all_personal, unseal_personal


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectDetails:
    """What is kept of a person beside their external id."""

    #: which sites with groups they may check in at
    groups: list[str] = field(default_factory=list)
    #: purposes for which nothing of them is processed until they say otherwise
    restricted: list[str] = field(default_factory=list)
    #: nothing of them is processed, whatever the purpose
    restricted_wholly: bool = False

    def restricts(self, purpose: str) -> bool:
        """Whether processing is restricted for a purpose (GDPR 18 and 21, LGPD 18)."""
        return self.restricted_wholly or purpose in self.restricted


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceDetails:
    """What is kept of a device: an allow-list."""

    platform: str
    os_major: str
    model: str
    permission: Permission


_SUBJECT, _DEVICE = b"subject", b"device"

_subject_decoder = msgspec.msgpack.Decoder(SubjectDetails)
_device_decoder = msgspec.msgpack.Decoder(DeviceDetails)


def seal_subject_details(keys: SubjectKeys, subject_id: UUID, details: SubjectDetails) -> bytes:
    """As they are stored."""
    return seal_personal(keys, _SUBJECT + subject_id.bytes, msgspec.msgpack.encode(details))


def unseal_subject_details(keys: SubjectKeys, subject_id: UUID, sealed: bytes) -> SubjectDetails:
    """The inverse. Raises `seals.BrokenSeal`."""
    return _subject_decoder.decode(unseal_personal(keys, _SUBJECT + subject_id.bytes, sealed))


def seal_device_details(keys: SubjectKeys, device_id: UUID, details: DeviceDetails) -> bytes:
    """As they are stored."""
    return seal_personal(keys, _DEVICE + device_id.bytes, msgspec.msgpack.encode(details))


def unseal_device_details(keys: SubjectKeys, device_id: UUID, sealed: bytes) -> DeviceDetails:
    """The inverse. Raises `seals.BrokenSeal`."""
    return _device_decoder.decode(unseal_personal(keys, _DEVICE + device_id.bytes, sealed))


class Sealed(NamedTuple):
    """Whose it is, as the 16 bytes of the id, and what is stored of them."""

    owner: bytes
    text: bytes

    def __repr__(self) -> str:
        return "<Sealed redacted>"


Details = tuple[DeviceDetails, SubjectDetails]


def unseal_details(keys: SubjectKeys, device: Sealed, subject: Sealed) -> Details:
    """Both at once, which is what each check-in asks. Raises `seals.BrokenSeal`."""
    of_device, of_subject = unseal_all_personal(
        keys, (_DEVICE + device.owner, device.text), (_SUBJECT + subject.owner, subject.text)
    )
    return _device_decoder.decode(of_device), _subject_decoder.decode(of_subject)


class Opened:
    """What was unsealed last of one device and its owner, as long as the same bytes are stored.

    Whatever changes is sealed anew, with a fresh nonce: so the same bytes say the same.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: tuple[Sealed, Sealed, Details] | None = None

    def __repr__(self) -> str:
        return "<Opened redacted>"

    def details(self, keys: SubjectKeys, device: Sealed, subject: Sealed) -> Details:
        """What they say. Raises `seals.BrokenSeal`."""
        known = self._known
        if known is None or known[0] != device or known[1] != subject:
            known = self._known = (device, subject, unseal_details(keys, device, subject))
        return known[2]
