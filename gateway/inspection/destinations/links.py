"""Web links that a task may follow although only an untrusted text named them. Pure. To follow a link is to fetch a
page whose whole address stood in a result. Such a call tells the host only which page was fetched, so it cannot carry
data away. That holds only for the same address, letter by letter, without room for data: no query, port, user
information or unusual letter case. IP addresses and names of internal networks are excluded, since a stranger's text
must not choose such a target."""

from __future__ import annotations

import re
from typing import Final

from gateway.base.json.pointer import child
from gateway.model.call import Call
from gateway.model.target import Effect, Role

MAX_LINK: Final = 256
"""Characters of an address."""

_LINK: Final = re.compile(
    r"(https?://)?((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,24}))(/[A-Za-z0-9._~/%+@-]*)?", re.ASCII
)
_WORDS: Final = re.compile(r"[^\s<>\"'`|^{}\[\]()\\,;*]+")
_ENDS: Final = ".:!?*_~"
_INTERNAL: Final = frozenset(
    {"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "onion", "private"}
)
"""Last labels of names that no public DNS has (RFC 6761, RFC 6762, RFC 8375, and what networks use without asking)."""


def followable(text: str) -> str | None:
    """Return the followable address of a text without its scheme, `None` for other texts. `www.site.example` and
    `https://www.site.example/` are the same address."""
    found = _LINK.fullmatch(text) if len(text) <= MAX_LINK else None
    if found is None or found[3] in _INTERNAL:
        return None
    return found[2] + ("" if found[4] in {None, "/"} else found[4])


def in_text(text: str) -> set[bytes]:
    """Return the whole followable addresses in a text, as a browser or a chat would link them. Each has a scheme or a
    path, or begins with `www.`. Other names with a dot may be files."""
    if "/" not in text and "www." not in text:
        return set()
    words = {word.rstrip(_ENDS) for word in _WORDS.findall(text) if "/" in word or word.startswith("www.")}
    return {found.encode() for word in words if (found := followable(word)) is not None}


def sole_argument(call: Call) -> tuple[str, str] | None:
    """Return the JSON pointer and the address of a call's only argument; `None` for a call with any other content."""
    if len(call.arguments) != 1:
        return None
    ((name, value),) = call.arguments.items()
    pointer = child("", name)
    if call.target.labels.roles.get(pointer) is not Role.DESTINATION or not isinstance(value, str):
        return None
    found = followable(value)
    return None if found is None else (pointer, found)


def may_be_followed(call: Call, goal: str | None) -> bool:
    """Return whether a task may follow the links in the result of a call. The goal must name the call's subject, the
    call must only read, and its system must be untrusted. Links of a trusted system are grounded anyway."""
    return goal is not None and call.target.labels.effect is Effect.READ and call.target.trust == "untrusted"
