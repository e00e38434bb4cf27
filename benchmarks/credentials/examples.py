"""Makes a fresh value that a rule must find, from the small grammar of its `example`, for benchmarks and tests:
what comes out has the form of a credential and opens nothing.

`{w:36}` is 36 characters of an alphabet, `{crc62}` the checksum of the last run before it: its CRC-32 in six digits of
base 62, as GitHub and npm write it (github.blog, "Behind GitHub's new authentication token formats"). All else is literal.
"""

from __future__ import annotations

import re
import string
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

ALPHABETS: Final = {
    "w": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "l": string.digits + string.ascii_lowercase,
    "U": string.digits + string.ascii_uppercase,
    "d": string.digits,
    "x": "0123456789abcdef",
    "X": "0123456789ABCDEF",
    "u": string.ascii_letters + string.digits + "_-",
    "b": string.ascii_letters + string.digits + "+/",
    "B": string.ascii_uppercase + "234567",
    "c": string.ascii_lowercase + "234567",
    "e": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}
_FIELD: Final = re.compile(r"\{(?:(?P<alphabet>[wlUdxXubBce]):(?P<length>\d+)|crc62)\}")
_WORDS: Final = ALPHABETS["w"]


def example(grammar: str, random: Random) -> str:
    """One value of `grammar`. A run never begins or ends with a mark, which some writers would cut off."""
    made: list[str] = []
    last = ""
    position = 0
    for match in _FIELD.finditer(grammar):
        made.append(grammar[position : match.start()])
        position = match.end()
        last = checksum(last) if match["alphabet"] is None else _run(match["alphabet"], int(match["length"]), random)
        made.append(last)
    return "".join(made) + grammar[position:]


def checksum(text: str) -> str:
    """CRC-32 in base 62, six digits."""
    number, digits = zlib.crc32(text.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _WORDS[digit] + digits
    return digits.rjust(6, "0")


def _run(alphabet: str, length: int, random: Random) -> str:
    letters = ALPHABETS[alphabet]
    plain = "".join(letter for letter in letters if letter.isalnum())
    run = random.choices(letters, k=length)
    run[0], run[-1] = random.choice(plain), random.choice(plain)
    return "".join(run)
