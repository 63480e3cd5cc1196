"""The secrets that labels and seals are made with. The keyring stores them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantKeys:
    """One tenant's secrets, independent of each other and of every other tenant's."""

    #: 32 bytes: keyed hashes (receipts, digests, look-ups)
    labels: bytes = field(repr=False)
    #: 64 bytes: AES-256-SIV (subject references, receipts of what was not stored, cursors)
    seals: bytes = field(repr=False)
