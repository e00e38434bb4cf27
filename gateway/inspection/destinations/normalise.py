"""A destination in one spelling. Pure. docs/destinations.md has the rules and their reasons. A text without a normal
form stands for itself. Spellings are merged only where receiving systems treat them as equal."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.inspection.destinations import hosts
from gateway.inspection.word_lists import word_list

MAX_ONE: Final = 2_048
"""Characters of one destination that are looked into; a longer one stands for itself, by digest."""


class DestinationKind(StrEnum):
    MAIL = "mail"
    HOST = "host"
    BUCKET = "bucket"
    PATH = "path"
    NUMBER = "number"
    """A telephone or account number."""
    CHANNEL = "channel"
    USER = "user"
    NAME = "name"
    """Anything else, and whatever has no normal form."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination. `value` alone identifies it: no two kinds share a value."""

    kind: DestinationKind
    value: str

    @property
    def word(self) -> str:
        """Return its spelling in results and goals: without the mark of its kind."""
        if self.kind in {DestinationKind.CHANNEL, DestinationKind.USER}:
            return self.value[1:]
        return self.value.replace(".:", ":").rstrip(".") if self.kind is DestinationKind.HOST else self.value

    @property
    def is_mixed(self) -> bool:
        """Return whether it mixes similar alphabets, as only a disguise does."""
        return hosts.is_mixed(self.value)


def normalise(text: str) -> Destination:
    """Return the destination named by `text`, which is not a list."""
    text = text.strip()
    if len(text) > MAX_ONE:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return Destination(DestinationKind.NAME, f"{text[:64]}… ({len(text)} characters, {digest})")
    if MAIL.fullmatch(text):
        return Destination(DestinationKind.MAIL, text.lower().rstrip("."))
    link = _PLAIN_LINK.fullmatch(text)
    if link is not None and "xn--" not in text:
        return Destination(DestinationKind.HOST, link[1].lower())
    found = _normalise_text(text)
    # Folding and decoding may leave what is plainly an address, and that is what a receiver that does so reads.
    plain = text.isascii() and text.isprintable() and "%" not in text
    return found if plain or found.value == text else _normalise_text(found.value)


def _normalise_text(text: str) -> Destination:
    return _read_marked(text) or _url(text) or _mail(text) or _path(text) or _host(text) or _number(text) or _name(text)


MAIL: Final = re.compile(
    r"[a-z0-9!#$&'*+=?^_`{|}~.-]+@(?:[a-z0-9_](?:[a-z0-9_-]*)\.)+[a-z]{2,63}\.?", re.IGNORECASE | re.ASCII
)
QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_PLAIN_LINK: Final = re.compile(
    r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,})(?:[/?#][!-$&-~]*)?", re.IGNORECASE | re.ASCII
)
"""What nearly all links look like: nothing in their host can be read in two ways, and no percent sign hides anything."""
_SIGN: Final = re.compile(r"[#@][\w.-][\w .@-]*")
_NUMBER_FORMS: Final = re.compile(
    r"(?P<plus>(?:\+|00)[\d ()./-]{7,24})|(?P<area>\(\d{2,5}\)[\d ./-]{5,16})|(?P<groups>\d{2,}(?:[ -]\d{2,})+)"
    r"|(?P<account>[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{1,4}){3,10})"
)
_DRIVE: Final = re.compile(r"[a-z]:[/\\]", re.IGNORECASE | re.ASCII)
_UNRESERVED: Final = re.compile(r"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
_SCP: Final = re.compile(r"[\w.-]+@([\w.-]+):(?![0-9]+$)")
SCHEME_ADDRESS: Final = re.compile(r"(tel|sms|sips?|xmpp):(?!//)(.+)", re.IGNORECASE | re.ASCII | re.DOTALL)
_FILES: Final = word_list("file_ends")
"""Ends of file names that are no top-level domains, or hardly."""
_DOMAINS: Final = word_list("domain_ends")
"""Ends of host names before a path that has no scheme."""


def _read_marked(text: str) -> Destination | None:
    """Return the destination of `#channel`, `@user` and schemes with an address behind them."""
    if _SIGN.fullmatch(text):
        kind = DestinationKind.CHANNEL if text[0] == "#" else DestinationKind.USER
        return Destination(kind, text[0] + fold_text(text[1:]))
    found = SCHEME_ADDRESS.match(text)
    if found is None:
        return None
    scheme, rest = found[1].lower(), found[2]
    if scheme in {"tel", "sms"}:
        return _number(re.split(r"[;?]", rest, maxsplit=1)[0]) or _name(text)
    return Destination(DestinationKind.NAME, f"{scheme}:{(_mail(rest) or _name(rest)).value}")


def _url(text: str) -> Destination | None:
    found = hosts.url(text)
    if found is None:
        return None
    if found.reached is None:
        return _name(text)
    if found.scheme in hosts.STORES:
        return Destination(DestinationKind.BUCKET, found.reached)
    if not found.scheme and "." not in found.reached and "[" not in found.reached:
        return None
    return _reach_host(found.reached)


def _reach_host(authority: str) -> Destination:
    """Return a host; a single label ends with the dot of the root, so that it is not taken for a name."""
    name, colon, port = authority.partition(":")
    plain = "." in name or authority.startswith("[") or name == "localhost"
    return Destination(DestinationKind.HOST, authority if plain else f"{name}.{colon}{port}")


def _mail(text: str) -> Destination | None:
    local, at, name = text.rpartition("@")
    literal = name.startswith("[") and name.endswith("]")
    if not at or not local or text[0] in "/~" or (not literal and any(mark in name for mark in "/:?#")):
        return _scp(text) if at else None
    quoted = QUOTED.fullmatch(local)
    if quoted is not None:
        plain = re.sub(r"\\(.)", r"\1", quoted[1])
        local = plain if re.fullmatch(r"[\w!#$&'*+=?^`{|}~-]+(?:\.[\w!#$&'*+=?^`{|}~-]+)*", plain) else f'"{plain}"'
    elif local.startswith("@") and ":" in local:
        local = local.rpartition(":")[2]
    normal = _literal(name[1:-1].lower()) if literal else hosts.domain(name)
    odd = quoted is None and (not local.isprintable() or "/" in local or "\\" in local)
    if normal is None or odd or any(mark.isspace() for mark in name):
        return None
    return Destination(DestinationKind.MAIL, f"{fold_text(local)}@{normal}")


def _literal(address: str) -> str | None:
    """Return the address literal of a mail domain (RFC 5321 section 4.1.3), in brackets even where a host has none."""
    normal = hosts.host(address) or hosts.host(f"[{address.removeprefix('ipv6:')}]")
    return None if normal is None else f"[{normal.strip('[]')}]"


def _scp(text: str) -> Destination | None:
    """Return the destination of `git@host:path`, as ssh and git write it."""
    found = _SCP.match(text)
    reached = hosts.authority(found[1]) if found is not None else None
    return _reach_host(reached) if reached is not None else None


def _path(text: str) -> Destination | None:
    if text[:5].lower() == "file:":
        text = "/" + re.sub(r"^/*(?:localhost/)?", "", text[5:].replace("\\", "/"))
        text = text[1:] if _DRIVE.match(text[1:]) else text
    if not text.isprintable():
        return Destination(DestinationKind.NAME, text) if "/" in text or "\\" in text else None
    windows = _DRIVE.match(text) is not None or text.startswith("\\\\") or ("\\" in text and "/" not in text)
    if windows:
        text = _UNRESERVED.sub(_character, text.replace("\\", "/")).lower()
    if "/" not in text:
        stem, dot, end = text.rpartition(".")
        named = bool(stem and dot) and end.lower() in _FILES and not any(letter.isspace() for letter in end)
        return Destination(DestinationKind.PATH, unicodedata.normalize("NFC", text)) if named else None
    if (authority := _authority_of(text)) is not None:
        return _reach_host(authority)
    return Destination(DestinationKind.PATH, _plain_path(text, unc=windows and text.startswith("//")))


def _authority_of(text: str) -> str | None:
    """Return the host of `example.com/path`: only with a well-known end, for a folder may have a dot in its name."""
    first = text.partition("/")[0]
    end = first.partition(":")[0].rstrip(".").rpartition(".")[2].lower()
    return hosts.authority(first) if "." in first and (end in _DOMAINS or ":" in first) else None


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _plain_path(text: str, *, unc: bool) -> str:
    """Return a path without empty segments, `.`, plain `..` and needless percent signs (RFC 3986 section 6.2.2)."""
    text = _UNRESERVED.sub(_character, unicodedata.normalize("NFC", text))
    root = "/" if text.startswith("/") else ""
    kept: list[str] = []
    for segment in text.split("/"):
        if segment == ".." and kept and kept[-1] not in {"..", "~"}:
            kept.pop()
        elif segment == ".." and root:
            continue
        elif segment not in {"", "."}:
            kept.append(segment)
    joined = "/".join(kept)
    if joined != joined.rstrip():
        # Space at the end of a text counts for nothing, also where the end shows only now.
        return _plain_path(root + joined.rstrip(), unc=unc)
    if unc:
        return "\\\\" + joined.replace("/", "\\")
    # A path without a slash would look like a name.
    return root + joined if root or ("/" in joined and joined == joined.strip()) else f"./{joined}"


def _host(text: str) -> Destination | None:
    if "." not in text and ":" not in text and hosts.domain(text) != "localhost":
        return None
    if ":" in text and (address := hosts.host(f"[{text.strip('[]')}]")) is not None:
        return _reach_host(address)
    normal = hosts.authority(text)
    if normal is None:
        return None
    name = normal.partition(":")[0]
    dotted = "." in text and not (text.replace(".", "").isdigit() and text.count(".") != 3)
    port = normal != name or name == "localhost"
    return _reach_host(normal) if dotted or port else None


def _number(text: str) -> Destination | None:
    text = " ".join(text.split())
    found = _NUMBER_FORMS.fullmatch(text)
    if found is None:
        return None
    if found["account"]:
        return Destination(DestinationKind.NUMBER, re.sub(r"[ -]", "", text).upper()) if len(text) >= 15 else None
    digits = re.sub(r"\D", "", text)
    if found["plus"]:
        return Destination(DestinationKind.NUMBER, "+" + (digits if text[0] == "+" else digits[2:]))
    return Destination(DestinationKind.NUMBER, digits) if len(digits) >= 7 else None


def _name(text: str) -> Destination:
    """Return a name in one case and with single spaces. A name with invisible characters stays unchanged."""
    if text.isascii() and text.isprintable():
        return Destination(DestinationKind.NAME, " ".join(text.lower().split()))
    shown = all(letter.isprintable() or letter.isspace() for letter in text)
    return Destination(DestinationKind.NAME, fold_text(text) if shown else text)


def fold_text(text: str) -> str:
    """Return a text without letter case, composition and white space. This is not Unicode case folding, which would
    merge `ß` and `ss`, two different names."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()).split())


# --- own domains -------------------------------------------------------------------------------------

_PLAIN_LOCAL_PART: Final = re.compile(r"[a-z0-9._+-]+", re.ASCII)
"""A plain local part. `eve%evil.example@corp.example` is passed on to another domain by some servers."""
_PLAIN_HOST: Final = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9-]+", re.ASCII)


def is_inside(destination: Destination, domains: tuple[str, ...]) -> bool:
    """Return whether a mail address or a host belongs to one of some domains, or to a domain below it."""
    if not domains or destination.kind not in {DestinationKind.MAIL, DestinationKind.HOST} or destination.is_mixed:
        return False
    local, at, host = destination.value.rpartition("@")
    if (at and _PLAIN_LOCAL_PART.fullmatch(local) is None) or _PLAIN_HOST.fullmatch(host) is None:
        return False
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
