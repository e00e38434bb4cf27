"""Links that a reader may follow: whole addresses of web pages in a result, and calls that say nothing but one. Pure.

Whoever gets a page tells its host which page, and nothing else, if the address stands whole in what was read. So an
address is taken letter by letter: in letter case, a query, a port or user information something could be said. Left out
are names that only an internal network has, and addresses: what a stranger writes must not choose one of those.
"""

from __future__ import annotations

import re
from typing import Final

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


def link(text: str) -> str | None:
    """A followable address without its scheme, or `None`. `www.site.example` and `https://www.site.example/` are one."""
    found = _LINK.fullmatch(text) if len(text) <= MAX_LINK else None
    if found is None or found[3] in _INTERNAL:
        return None
    return found[2] + ("" if found[4] in {None, "/"} else found[4])


def written(text: str) -> set[bytes]:
    """The followable addresses that stand whole in a text, as a browser or a chat would make links of them: with a
    scheme, with a path, or beginning with `www.`. Other names with a dot may be files."""
    if "/" not in text and "www." not in text:
        return set()
    words = {word.rstrip(_ENDS) for word in _WORDS.findall(text) if "/" in word or word.startswith("www.")}
    return {found.encode() for word in words if (found := link(word)) is not None}


def said(call: Call) -> tuple[str, str] | None:
    """The pointer of the one argument of a call, and the address that it is, if the call says no more than that."""
    if len(call.arguments) != 1:
        return None
    ((name, value),) = call.arguments.items()
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    if call.target.labels.roles.get(pointer) is not Role.DESTINATION or not isinstance(value, str):
        return None
    found = link(value)
    return None if found is None else (pointer, found)


def sends(call: Call, goal: str | None) -> bool:
    """Whether links in the result of a call may be followed if the goal names what it looks up: it reads, and what comes
    back grounds nothing by itself."""
    return goal is not None and call.target.labels.effect is Effect.READ and call.target.trust == "untrusted"
