"""What the vault holds."""

from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

import msgspec


class Access(msgspec.Struct, frozen=True, array_like=True, tag="access"):
    """That the API was used: when, and from where. It has no slot for anything else."""

    #: to the second
    time: datetime
    address: str
    #: many share an address: their provider tells them apart by the port
    port: int | None

    def __repr__(self) -> str:
        return "<Access redacted>"


class Reading(msgspec.Struct, frozen=True, array_like=True, tag="reading"):
    """That the vault was read: when, by which user of the machine, why, and what."""

    time: datetime
    user: str
    reason: str
    since: datetime
    until: datetime


Entry = Access | Reading


def access(at: datetime, client: tuple[str, int] | None) -> Access | None:
    """An access by whoever is at the other end of a connection; None where that is no address."""
    if client is None:
        return None
    host, port = client
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # behind a proxy the port is not known, and said to be 0
    return Access(to_the_second(at), str(address), port or None)


def to_the_second(at: datetime) -> datetime:
    """An instant in UTC without its fraction."""
    return at.astimezone(UTC).replace(microsecond=0)
