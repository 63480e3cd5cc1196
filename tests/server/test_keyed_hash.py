"""What is stored was hashed by HMAC-SHA256, and must be found again."""

import hmac
import os

import pytest

from doorstep_server.privacy.keyed_hash import keyed_hash


@pytest.mark.parametrize("key_bytes", [0, 1, 32, 63, 64])
@pytest.mark.parametrize("text_bytes", [0, 1, 55, 56, 64, 1000])
def test_a_keyed_hash_is_hmac_sha256(key_bytes: int, text_bytes: int) -> None:
    key, text = os.urandom(key_bytes), os.urandom(text_bytes)
    assert keyed_hash(key, text) == hmac.digest(key, text, "sha256")


def test_it_is_that_of_the_rfc() -> None:
    """RFC 4231, test case 2."""
    assert keyed_hash(b"Jefe", b"what do ya want for nothing?").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
