"""Files that carry the SHA-256 of their own bytes, so that one changed bit is found when they are read."""

import hashlib

BLANK = b"0" * 64
"""Stands in a file where its checksum will be. The checksum is taken while it stands there."""


def seal(content: bytes) -> bytes:
    """``content`` with the checksum of all its bytes in place of its first `BLANK`."""
    assert BLANK in content
    return content.replace(BLANK, hashlib.sha256(content).hexdigest().encode(), 1)


def is_sealed(content: bytes, checksum: bytes) -> bool:
    """Whether ``content``, in which ``checksum`` stands, is what `seal` returned, to the bit."""
    return hashlib.sha256(content.replace(checksum, BLANK, 1)).hexdigest().encode() == checksum
