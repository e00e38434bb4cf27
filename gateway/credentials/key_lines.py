"""The secret lines of a private key: without its first and last line, and without the parts that other keys share. Pure.

The beginning of an RSA key is its modulus, which the public key and the certificate show too. Keys of one kind begin with the
same names of algorithms.
"""

from __future__ import annotations

import re
from typing import Final

SHARED: Final = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
    "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDA",
    "MHcCAQEEIAoGCCqGSM49AwEHoUQDQgAE",
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQAAACD",
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAABFwAAAAdzc2gtcnNhAAAAAwEAAQAAAQEA",
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQ",
)
"""The beginnings of keys for P-256, P-384, Ed25519 and of OpenSSH (RFC 5208, RFC 5915, PROTOCOL.key)."""
_BORDER: Final = re.compile(r"-----[A-Z0-9 ]{1,64}-----")
_RSA: Final = "MII"
_PUBLIC: Final = 4
"""The modulus is less than a quarter of an RSA key (RFC 8017 appendix A.1.2)."""


def is_key(value: str) -> bool:
    """Return whether a value has the first line of a private key (RFC 7468 section 10)."""
    return "PRIVATE KEY-----" in value


def secret_lines(key: str) -> str:
    """Return the part of a private key of which any line tells the key."""
    body = _BORDER.sub("", key).strip()
    return body[len(body) // _PUBLIC :] if body.startswith(_RSA) else body
