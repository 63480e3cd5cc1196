"""API keys, device tokens and enrollment codes: how they are made, read and checked.

`<prefix>_<kid>_<secret>`. The kid begins with the tenant's handle, so that everything is looked
up inside its tenant. Only an HMAC of the secret under the deployment's pepper is stored.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

#: Crockford's base 32: no letters that look alike
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
HANDLE_LENGTH = 6
_KID_RANDOM_LENGTH = 10
_CODE_RANDOM_LENGTH = 12
_SECRET_BYTES = 32
#: where the kid is in a credential's text
KID = slice(4, 4 + HANDLE_LENGTH + _KID_RANDOM_LENGTH)

_CREDENTIAL = re.compile(
    rf"(dsk|dst)_([{ALPHABET}]{{{HANDLE_LENGTH}}}[{ALPHABET}]{{{_KID_RANDOM_LENGTH}}})_([0-9a-f]{{64}})"
)
_CODE = re.compile(rf"[{ALPHABET}]{{{HANDLE_LENGTH + _CODE_RANDOM_LENGTH}}}")


class Kind(StrEnum):
    """Who a credential speaks for."""

    API_KEY = "dsk"
    DEVICE_TOKEN = "dst"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """A presented or newly made credential. Prints without its secret."""

    kind: Kind
    kid: str
    secret: bytes = field(repr=False)

    @property
    def handle(self) -> str:
        """The tenant's handle."""
        return self.kid[:HANDLE_LENGTH]

    def text(self) -> str:
        """What its holder sends."""
        return f"{self.kind}_{self.kid}_{self.secret.hex()}"


def new_handle() -> str:
    """A tenant's handle."""
    return _random(HANDLE_LENGTH)


def new_credential(kind: Kind, handle: str) -> Credential:
    """A credential with a fresh random secret of 256 bits."""
    return Credential(
        kind=kind,
        kid=handle + _random(_KID_RANDOM_LENGTH),
        secret=secrets.token_bytes(_SECRET_BYTES),
    )


def enrolled_credential(handle: str, secret: bytes) -> Credential:
    """The device token that an enrollment yields: the same for the same secret."""
    digest = hashlib.sha256(b"kid\0" + secret).digest()
    kid = handle + "".join(ALPHABET[byte % 32] for byte in digest[:_KID_RANDOM_LENGTH])
    return Credential(kind=Kind.DEVICE_TOKEN, kid=kid, secret=secret)


def parse(text: str) -> Credential | None:
    """Read what a caller presents; None when it cannot be one of ours."""
    match = _CREDENTIAL.fullmatch(text)
    if match is None:
        return None
    kind, kid, secret = match.groups()
    return Credential(kind=Kind(kind), kid=kid, secret=bytes.fromhex(secret))


def secret_hash(pepper: bytes, credential: Credential) -> bytes:
    """What is stored of a secret."""
    return hmac.digest(pepper, credential.kid.encode() + b"\0" + credential.secret, hashlib.sha256)


def matches(pepper: bytes, credential: Credential, stored: bytes | None) -> bool:
    """Whether the secret is the stored one; as long for an unknown kid as for a wrong secret."""
    presented = secret_hash(pepper, credential)
    return hmac.compare_digest(presented, stored or bytes(len(presented))) and stored is not None


def new_enrollment_code(handle: str) -> str:
    """A code to type or scan: the tenant's handle and 60 random bits."""
    return handle + _random(_CODE_RANDOM_LENGTH)


def shown_code(code: str) -> str:
    """A code as people read it: XXXXXX-XXXXXX-XXXXXX."""
    upper = code.upper()
    return "-".join(upper[i : i + 6] for i in range(0, len(upper), 6))


def read_code(text: str) -> str | None:
    """A code as typed (any case, spaces, dashes, O for 0, I or L for 1); None when it is none."""
    plain = text.lower().translate(str.maketrans("oil", "011", " -"))
    return plain if _CODE.fullmatch(plain) else None


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
