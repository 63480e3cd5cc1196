"""Keyed hashes: equal for equal things, meaningless without the tenant's key.

Every label names what it is a label of, so that none can stand in for another.
"""

from uuid import UUID

from doorstep_server.privacy.keyed_hash import keyed_hash
from doorstep_server.privacy.keys import TenantKeys

RECEIPT_KEY_BYTES = 16
DIGEST_BYTES = 2


def label(keys: TenantKeys, kind: bytes, value: bytes) -> bytes:
    """32 bytes: HMAC-SHA256 of the value under the tenant's key and the label's kind."""
    return keyed_hash(keys.labels, kind + b"\0" + value)


def receipt_key(keys: TenantKeys, check_in_id: UUID) -> bytes:
    """Where the receipt of a check-in id lies.

    It begins as the id does: with the day for ids led by a day (version 8), so that the receipts
    of one day share their pages on disk. It is a function of the id alone: the same id is found
    again whatever else a retry says.
    """
    said = check_in_id.bytes
    return said[:2] + label(keys, b"receipt", said)[: RECEIPT_KEY_BYTES - 2]


def content_digest(keys: TenantKeys, content: bytes) -> bytes:
    """16 bits, to notice an id used for other content.

    So short on purpose: 65,536 positions share each digest, so even someone who holds the key
    cannot confirm where a person was by trying positions.
    """
    return label(keys, b"content", content)[:DIGEST_BYTES]


def installation_label(keys: TenantKeys, installation_id: str) -> bytes:
    """What is remembered of an app installation: enough to know it again."""
    return label(keys, b"installation", installation_id.encode())


def enrollment_code_label(keys: TenantKeys, code: str) -> bytes:
    """What is stored of an enrollment code: enough to check one, not to make one."""
    return label(keys, b"enrollment-code", code.encode())


def device_secret(keys: TenantKeys, code: str, installation_id: str) -> bytes:
    """The secret of the token that a code and an installation yield.

    Derived from the code, which is not stored: whoever repeats the call because the answer got
    lost receives the same token, and the database alone can never yield one.
    """
    return label(keys, b"device-secret", f"{code}\0{installation_id}".encode())
