"""The host of a URL, an authority or a name, in one spelling. Pure. It follows the WHATWG URL standard (section 3.5,
host parsing; 4.4, URL parsing), as fetching clients do. It covers letter case, internationalised names (UTS 46,
non-transitional), percent signs, and IPv4 addresses in any base. It also covers IPv6 in any form, user information,
default ports, backslashes, and the dot at the end of a name. An authority that URL readers split differently has no
normal form here."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import idna

from gateway.base.letters import find_alphabets

MAX_HOST: Final = 1_000
"""Characters of a host that are looked at. DNS allows 253; percent signs and full-width forms take more."""

_SCHEME: Final = re.compile(
    r"(https?|wss?|ftp):/*|(?:[a-z][a-z0-9+.-]+:)*([a-z][a-z0-9+.-]+)://+", re.IGNORECASE | re.ASCII
)
"""Clients need no slashes after the schemes of the web, and read backslashes as slashes."""
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_PORT: Final = re.compile(r"(.*?)(?::([0-9]{0,5}))?", re.DOTALL)
_PLAIN: Final = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,})(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII)
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_ZONED: Final = re.compile(r"[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?")
_AMBIGUOUS: Final = re.compile(r"[\x00-\x20\x7f\\<>^`{|}\"]")

_WEB: Final = frozenset({"http", "https", "ws", "wss", "ftp"})
_WEB_PORTS: Final = frozenset({80, 443})
_PORTS: Final = {
    "ftp": 21, "sftp": 22, "ssh": 22, "smtp": 25, "ldap": 389, "ldaps": 636, "mysql": 3306, "postgres": 5432,
    "postgresql": 5432, "redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671, "mongodb": 27017, "git": 9418,
}  # fmt: skip
STORES: Final = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs", "oss": "oss", "r2": "r2"}
"""Schemes of object stores, whose authority is the name of a bucket and no host."""
_HEAD: Final = 64
"""Characters in which a scheme and its slashes are looked for."""


@dataclass(frozen=True, slots=True)
class Url:
    """The destination of a URL: `host[:port]` without its scheme's default port, or `store://bucket`. `reached` is
    `None` if its authority is empty or ambiguous."""

    scheme: str
    reached: str | None


def url(text: str) -> Url | None:
    """Return the URL of a text, `None` for other texts. Texts that a browser would turn into a URL count."""
    text = text.strip(_C0)
    if not text.isprintable():
        text = text.translate(_DROPPED)
    head = text[:_HEAD]
    found = _SCHEME.match(head.replace("\\", "/")) if ":" in head else None
    if found is None:
        return _relative(text)
    scheme = (found[1] or found[2]).lower()
    return None if scheme == "file" else _reach(scheme, text[found.end() :].lstrip("/\\"))


_C0: Final = "".join(map(chr, range(33)))
_DROPPED: Final = {ord(mark): None for mark in "\t\r\n"}


def _relative(text: str) -> Url | None:
    """Return `//host/path` with the scheme of its place. Without a dot in its host it is a path."""
    if not text.startswith("//"):
        return None
    first = re.split(r"[/?#]", text.lstrip("/"), maxsplit=1)[0]
    return _reach("", text.lstrip("/")) if first else None


def _reach(scheme: str, rest: str) -> Url:
    end = r"[/\\?#]" if scheme in _WEB else r"[/?#]"
    whole = re.split(end, rest, maxsplit=1)[0]
    # Where a backslash ends the authority for some readers, an `@` behind it is read by the others.
    torn = "@" in re.split(r"[/?#]", rest, maxsplit=1)[0][len(whole) :]
    if scheme in STORES:
        bucket = whole.rpartition("@")[2]
        return Url(scheme, f"{STORES[scheme]}://{bucket}" if _BUCKET.fullmatch(bucket) else None)
    return Url(scheme, None if torn or _AMBIGUOUS.search(whole) else authority(whole.rpartition("@")[2], scheme))


def authority(text: str, scheme: str = "") -> str | None:
    """Return `host[:port]` in its normal form, or `None`. Ports 80 and 443, and that of the scheme, are left out."""
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        name, port = plain[1].lower(), plain[2]
    else:
        found = _match_brackets(text) if text.startswith("[") else _PORT.fullmatch(text)
        if found is None:
            return None
        normal, port = host(found[1]), found[2]
        if normal is None:
            return None
        name = normal
    if not port or int(port) in _WEB_PORTS or int(port) == _PORTS.get(scheme):
        return name
    return f"{name}:{int(port)}" if int(port) < 65_536 else None


_BRACKETS: Final = re.compile(r"(\[[^\[\]]*\])(?::([0-9]{0,5}))?")


def _match_brackets(text: str) -> re.Match[str] | None:
    return _BRACKETS.fullmatch(text)


def host(text: str) -> str | None:
    """Return a host in its normal form: `example.com`, `xn--bcher-kva.example`, `127.0.0.1`, `[2001:db8::1]`; else
    `None`."""
    name = domain(text)
    if text.startswith("["):
        return _ipv6(text[1:-1]) if text.endswith("]") else None
    if name is not None and _NUMERIC.fullmatch(name):
        return _ipv4(name)
    return name


def domain(text: str) -> str | None:
    """Return a name in its normal form, numeric or not; `None` for no possible name."""
    if len(text) > MAX_HOST:
        return None
    if "%" in text:
        try:
            text = unquote_to_bytes(text).decode()
        except UnicodeError:
            return None
    if text.isascii():
        name = text.lower()
    else:
        try:
            name = ".".join(_a_label(label) for label in idna.uts46_remap(text, False, False).split("."))  # noqa: FBT003 - its own signature
        except UnicodeError:
            return None
    name = name.removesuffix(".")
    return name if _NAME.fullmatch(name) else None


def _a_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


def _ipv4(name: str) -> str | None:
    """Up to four numbers, each decimal, octal (`0…`) or hexadecimal (`0x…`); the last fills what is left."""
    parts = name.split(".")
    if len(parts) > 4:
        return None
    numbers: list[int] = []
    for part in parts:
        number = _number(part)
        if number is None:
            return None
        numbers.append(number)
    last = numbers.pop()
    if any(number > 255 for number in numbers) or last >= 256 ** (4 - len(numbers)):
        return None
    value = last + sum(number << 8 * (3 - at) for at, number in enumerate(numbers))
    return str(ipaddress.IPv4Address(value))


def _number(part: str) -> int | None:
    if not part.isalnum():
        return None
    try:
        if part.startswith("0x"):
            return int(part[2:] or "0", 16)
        return int(part, 8) if part.startswith("0") else int(part)
    except ValueError:
        return None


def _ipv6(text: str) -> str | None:
    """Return an address in the form of RFC 5952. An IPv4 address inside (`::ffff:…`) is where a dual-stack socket
    connects to."""
    try:
        address = ipaddress.IPv6Address(text if _ZONED.fullmatch(text) else "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else f"[{address.compressed.lower()}]"


def is_mixed(text: str) -> bool:
    """Return whether a label or word mixes similar alphabets: Latin, Cyrillic, Greek, Armenian, Cherokee, Coptic.
    A-labels are decoded first."""
    if text.isascii() and "xn--" not in text:
        return False
    return any(len(find_alphabets(_show_label(word))) > 1 for word in re.split(r"[^\w-]+", text))


def _show_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label
