"""Destinations of a call: each destination of a text, so that none is hidden or counted twice. Pure.
docs/destinations.md has the rules and their reasons. Nothing is dropped.

A task may follow some web links although only an untrusted text named them. To follow a link is to fetch a page whose whole
address stood in a result. Such a call tells the host only which page was fetched, so it cannot carry data away. That holds
only for the same address, letter by letter, without room for data: no query, port, user information or unusual letter
case. IP addresses and names of internal networks are excluded, since a stranger's text must not choose such a target."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final, cast
from urllib.parse import unquote

from gateway.base.json.walk import child
from gateway.inspection.destinations.normalise import (
    MAIL,
    MAX_ONE,
    QUOTED,
    SCHEME_ADDRESS,
    Destination,
    DestinationKind,
    normalise,
)
from gateway.model.call import Call
from gateway.model.target import Effect, Role

MAX_TEXT: Final = 65_536
"""Characters of one text that are taken apart. A longer one counts as one destination more."""


def listed(text: str) -> Iterator[Destination]:
    """Yield each destination of a text. The text may be a list by commas, semicolons or lines, or an address list (RFC
    5322 section 3.4). It may also be a `mailto:` (RFC 6068), or a JSON array in a text. Repetitions stay."""
    yield from _find_listed(text, 3)


_SEPARATOR: Final = re.compile(
    r'"(?:[^"\\]|\\.){0,320}+"|\((?:[^()\\]|\\.){0,320}+\)|<[^<>]{0,320}+>|([,;|，；、｜\r\n]+)', re.DOTALL
)
"""Separators, and what may hold one without being parted by it: quoted strings, comments, angle addresses."""
_ROOTED: Final = re.compile(
    r"[\x00-\x20]*(?:[a-z][a-z0-9+.-]+:/?/|[/\\~]|\.\.?/|[a-z]:[/\\])", re.IGNORECASE | re.ASCII
)
"""What begins a URL or a path, in which a separator may be meant literally."""
_NEXT: Final = re.compile(
    r"\s|[a-z][a-z0-9+.-]+:/?/|[/\\~]|\.\.?/|[a-z]:[/\\]|[^\s,;/]+@|mailto:", re.IGNORECASE | re.ASCII
)
"""What follows a separator that is one even there."""
_ANGLE: Final = re.compile(r"<([^<>]*)>")
_COMMENT: Final = re.compile(r"\((?:[^()\\]|\\.)*+\)", re.DOTALL)
_GROUP: Final = re.compile(r"[^@<>\":,;/\\]{1,64}:(?=[^/\\]*@)")
_MAILTO: Final = re.compile(r"\s*mailto:", re.IGNORECASE | re.ASCII)


def _find_listed(text: str, depth: int) -> Iterator[Destination]:
    if len(text) > MAX_TEXT:
        yield normalise(text)
        text = text[:MAX_TEXT]
    if not (text := text.strip()):
        return
    if MAIL.fullmatch(text):
        yield normalise(text)
    elif depth and text[0] in "[{" and (leaves := _json_leaves(text)) is not None:
        for leaf in leaves:
            yield from _find_listed(leaf, depth - 1)
    elif depth and (mailto := _MAILTO.match(text)) is not None:
        for part in _mailto(text[mailto.end() :]):
            yield from _find_listed(part, depth - 1)
    else:
        for piece in _pieces(text):
            yield from _piece(piece, depth)


def _json_leaves(text: str) -> list[str] | None:
    """Return the texts of a JSON document in a text: some servers read one where they expect a list."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return list(texts(document))


_ADDRESS: Final = re.compile(r"@|://|^[#+]|\w\.\w")
"""What is in a name of a member that is an address and no name of a field."""


def texts(value: object) -> Iterator[str]:
    """Yield the values in a JSON value as texts: strings and numbers as written, at any depth, and names of members
    that are addresses."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, bool):
            yield "true" if item else "false"
        elif isinstance(item, int):
            yield str(item)
        elif isinstance(item, float):
            yield str(int(item)) if item.is_integer() else repr(item)
        elif isinstance(item, dict):
            members = cast("dict[str, object]", item)
            waiting.extend(reversed(members.values()))
            waiting.extend(name for name in members if _ADDRESS.search(name) is not None)
        elif item is not None:
            waiting.extend(reversed(cast("list[object]", item)))


def _pieces(text: str) -> Iterator[str]:
    start = 0
    rooted = _ROOTED.match(text) is not None
    for found in _SEPARATOR.finditer(text):
        if found[1] is None or (rooted and found[1][0] not in "\r\n" and not _NEXT.match(text, found.end())):
            continue
        yield text[start : found.start()]
        start = found.end()
        rooted = _ROOTED.match(text, start) is not None
    yield text[start:]


def _piece(piece: str, depth: int) -> Iterator[Destination]:
    piece = piece.strip()
    if not piece:
        return
    inner = _inner(piece) if depth and len(piece) <= MAX_ONE else None
    if inner is None:
        yield normalise(piece)
    else:
        for part in inner:
            yield from _find_listed(part, depth - 1)


def _inner(piece: str) -> list[str] | None:
    """Return the parts of a piece with more than one destination; `None` for a plain piece."""
    if _MAILTO.match(piece) is not None:
        return [piece]
    if SCHEME_ADDRESS.match(piece) is not None:
        return None
    if (whole := QUOTED.fullmatch(piece)) is not None:
        return [re.sub(r"\\(.)", r"\1", whole[1])]
    if "@" in piece:
        group = _GROUP.match(piece)
        return [piece[group.end() :]] if group is not None else _addresses(piece)
    angle = _ANGLE.fullmatch(piece)
    return [angle[1]] if angle is not None else _words(piece)


def _words(piece: str) -> list[str] | None:
    """Yield the URLs of words, or without a URL all words if each is a destination by itself."""
    words = piece.split()
    if len(words) < 2:
        return None
    if "://" in piece:
        return [word.strip("()<>\"'") for word in words if "://" in word]
    return words if all(map(_is_destination, words)) else None


def _is_destination(word: str) -> bool:
    """Return whether a word by itself is more than part of a name or a number."""
    if word[0] in "#@+/":
        return normalise(word).kind is not DestinationKind.NAME
    return "." in word and normalise(word).kind is DestinationKind.HOST


def _mailto(rest: str) -> list[str]:
    address, _, fields = rest.partition("?")
    parts = [address]
    for field in fields.split("&"):
        name, _, value = field.partition("=")
        if name.lower() in {"to", "cc", "bcc"}:
            parts.append(value)
    return list(map(unquote, parts))


def _addresses(piece: str) -> list[str] | None:
    """Return the addresses of `"Name" <a@b>`, `a@b c@d` and `a@b (comment)`, or `None` for one bare address. Some
    readers of addresses do not know comments."""
    angles = _ANGLE.findall(piece)
    outside = _ANGLE.sub(" ", QUOTED.sub(" ", piece))
    noted = _mails(" ".join(comment[1:-1] for comment in _COMMENT.findall(outside)))
    if angles:
        return [*filter(str.strip, angles), *_mails(_COMMENT.sub(" ", outside)), *noted] or None
    if QUOTED.match(piece):
        return None
    bare = _COMMENT.sub(" ", piece)
    words = bare.split()
    return ([*(_mails(bare) or words), *noted] or None) if len(words) > 1 or bare.strip() != piece else None


def _mails(text: str) -> list[str]:
    return [word for word in text.split() if "@" in word[1:]]


_LINK: Final = re.compile(
    r"(?:(?:https?|wss?|ftp):(?:[/\\]+|(?=(?:[a-z0-9-]{1,63}\.){1,8}[a-z]))|(?<![\w:/\\])[/\\]{2}(?=[\w-]+\.)"
    r"|(?<![\w@./\\-])www\.(?=\w)"
    r"|(?<![\w@./\\-])(?=(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?::\d{1,5})?(?:/|\?[\w.-]*=)))[^\s<>\"'`|^{}\[\]]+",
    re.IGNORECASE | re.ASCII,
)
"""What a mail program, a browser or a chat makes a link or an image of: a scheme, `//`, `www.`, or a host with a path or
a query."""
_MARKUP_VALUE: Final = re.compile(r"\"[^\"<>]{1,2048}\"|'[^'<>]{1,2048}'")
_BREAKS: Final = str.maketrans("", "", "\t\r\n")


def links(text: str) -> Iterator[Destination]:
    """Yield the hosts of the links in a text that people or programs read, as it stands and as markup. Files and
    other names are none."""
    yield from _find_linked(text)
    shown = html.unescape(text) if "&" in text else text
    if "<" in shown:
        # A URL in an attribute loses its line breaks and tabs.
        shown = _MARKUP_VALUE.sub(lambda found: found[0].translate(_BREAKS), shown)
    if shown != text:
        yield from _find_linked(shown)


_ENDS: Final = bytes(32 if chr(code) in "<>\"'`|^{}[]" else code for code in range(256))
"""Marks at which every link ends, and before which one can begin, as white space."""
_PLAIN: Final = re.compile(
    r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,})(?:/[!-$&-~]*+|[).,;:!?*_~]*+)", re.IGNORECASE | re.ASCII
)
"""What nearly all links look like: the host can be told without taking them apart."""


def _find_linked(text: str) -> Iterator[Destination]:
    slashes, odd = "/" in text, "\\" in text or "www." in text.lower() or "?" in text
    if not slashes and not odd and not (":" in text and "." in text):
        return
    # Words first: the expression takes seven times as long as parting a text of plain words does.
    words = text.encode("utf-8", "surrogatepass").translate(_ENDS).decode("utf-8", "surrogatepass").split()
    if odd:
        words = [word for word in words if "/" in word or "\\" in word or "." in word]
    else:
        words = [word for word in words if "/" in word or (":" in word and "." in word)]
    hosts: dict[str, None] = {}
    for word in dict.fromkeys(words):
        plain = _PLAIN.fullmatch(word) if len(word) <= MAX_ONE and "xn--" not in word else None
        if plain is None:
            yield from _links(word)
        else:
            hosts[plain[1].lower()] = None
    for host in hosts:
        yield Destination(DestinationKind.HOST, host)


_QUERY: Final = re.compile(r"([^/\\?]+)\?")


def _links(word: str) -> Iterator[Destination]:
    for found in _LINK.finditer(word):
        # A query may follow the host, and then there is a path that is not written.
        link = normalise(_QUERY.sub(r"\1/?", found[0].rstrip(").,;:!?*_~"), count=1))
        if link.kind is DestinationKind.HOST or "//" in found[0]:
            yield link


def distinct(values: Iterable[str]) -> frozenset[str]:
    """Return the normal forms of all destinations in these texts."""
    return frozenset(destination.value for value in values for destination in listed(value))


# --- links that a task may follow --------------------------------------------------------------------

MAX_LINK: Final = 256
"""Characters of an address."""

_FOLLOWABLE: Final = re.compile(
    r"(https?://)?((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,24}))(/[A-Za-z0-9._~/%+@-]*)?", re.ASCII
)
_LINK_WORD: Final = re.compile(r"[^\s<>\"'`|^{}\[\]()\\,;*]+")
_END_MARKS: Final = ".:!?*_~"
_INTERNAL: Final = frozenset(
    {"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "onion", "private"}
)
"""Last labels of names that no public DNS has (RFC 6761, RFC 6762, RFC 8375, and what networks use without asking)."""


def followable(text: str) -> str | None:
    """Return the followable address of a text without its scheme, `None` for other texts. `www.site.example` and
    `https://www.site.example/` are the same address."""
    found = _FOLLOWABLE.fullmatch(text) if len(text) <= MAX_LINK else None
    if found is None or found[3] in _INTERNAL:
        return None
    return found[2] + ("" if found[4] in {None, "/"} else found[4])


def find_followable(text: str) -> set[bytes]:
    """Return the whole followable addresses in a text, as a browser or a chat would link them. Each has a scheme or a
    path, or begins with `www.`. Other names with a dot may be files."""
    if "/" not in text and "www." not in text:
        return set()
    words = {word.rstrip(_END_MARKS) for word in _LINK_WORD.findall(text) if "/" in word or word.startswith("www.")}
    return {found.encode() for word in words if (found := followable(word)) is not None}


def find_sole_link(call: Call) -> tuple[str, str] | None:
    """Return the JSON pointer and the address of a call's only argument; `None` for a call with any other content."""
    if len(call.arguments) != 1:
        return None
    ((name, value),) = call.arguments.items()
    pointer = child("", name)
    if call.target.labels.roles.get(pointer) is not Role.DESTINATION or not isinstance(value, str):
        return None
    found = followable(value)
    return None if found is None else (pointer, found)


def may_follow_links(call: Call, goal: str | None) -> bool:
    """Return whether a task may follow the links in the result of a call. The goal must name the call's subject, the
    call must only read, and its system must be untrusted. Links of a trusted system are grounded anyway."""
    return goal is not None and call.target.labels.effect is Effect.READ and call.target.trust == "untrusted"
