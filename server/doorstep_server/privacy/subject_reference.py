"""How a stored check-in refers to its subject: the only place that makes or reads a reference.

Today a reference is the sealed subject id, the same for every row of a subject: useless without
the keyring, but equal rows can be seen to be equal. Rows that nobody can link without the keyring
replace the inside of these two functions; nothing else knows what a reference is made of.
"""

from uuid import UUID

from doorstep_server.privacy.keys import TenantKeys
from doorstep_server.privacy.seals import seal, unseal

_CONTEXT = b"subject-reference"


def make(keys: TenantKeys, subject_id: UUID) -> bytes:
    """The reference to a subject that a row may hold."""
    return seal(keys, _CONTEXT, subject_id.bytes)


def read(keys: TenantKeys, reference: bytes) -> UUID:
    """The subject that a row refers to."""
    return UUID(bytes=unseal(keys, _CONTEXT, reference))
