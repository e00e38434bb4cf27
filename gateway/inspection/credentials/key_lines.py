"""The secret lines of a private key: without its first and last line, and without the parts that other keys share. Pure.

A private key holds its public key, which certificates and messages show too. Keys of one kind begin with the same letters.
"""

from __future__ import annotations

import re
from typing import Final

_SECRET: Final = (
    ("MIGHAgEAMBMGByqGSM49", 48, 91),
    ("MIG2AgEAMBAGByqGSM49", 46, 111),
    ("MIHuAgEAMBAGByqGSM49", 46, 135),
    ("MHcCAQEEI", 9, 52),
    ("MIGkAgEBBDA", 10, 75),
    ("MIGkAgEBBDB", 10, 75),
    ("MIHcAgEBBEI", 10, 99),
    ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQ", 214, 258),
    ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS1zaGEyLW5pc3RwMjU2", 356, 399),
)
"""The beginnings of keys on curves, with the first and last letter of the secret number: P-256, P-384 and P-521 (RFC 5208, RFC
5915), Ed25519 and P-256 of OpenSSH (PROTOCOL.key). The public key stands beside it."""
_BORDER: Final = re.compile(r"-----[A-Z0-9 ]{1,64}-----")
_OPENSSH: Final = "b3BlbnNzaC1rZXktdjE"
_PUBLIC: Final = 4
"""The modulus is less than a quarter of an RSA key (RFC 8017 appendix A.1.2), and of OpenSSH in both of its first quarters."""


def is_key(value: str) -> bool:
    """Return whether a value has the first line of a private key (RFC 7468 section 10)."""
    return "PRIVATE KEY-----" in value


def secret_lines(key: str) -> str:
    """Return the part of a private key of which any line tells the key."""
    body = _BORDER.sub("", key).strip()
    letters = "".join(body.split())
    for beginning, first, last in _SECRET:
        if letters.startswith(beginning):
            return letters[first:last]
    quarters = 2 if letters.startswith(_OPENSSH) else 1
    return letters[quarters * len(letters) // _PUBLIC :]
