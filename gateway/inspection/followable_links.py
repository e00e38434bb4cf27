"""Web links that a task may follow although only an untrusted text named them. Pure.

To follow a link is to fetch a page whose whole address stood in a result. Such a call tells the host which page was
fetched and nothing else, so it cannot carry data away. That holds only if the address is the same letter by letter, and
has no part in which data could hide: no query, port, user information or unusual letter case. IP addresses and names that
only an internal network has are left out: a stranger's text must not choose one of those.
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


def followable(text: str) -> str | None:
    """The address that a text is, without its scheme; `None` if it is none that may be followed.

    `www.site.example` and `https://www.site.example/` are the same address.
    """
    found = _LINK.fullmatch(text) if len(text) <= MAX_LINK else None
    if found is None or found[3] in _INTERNAL:
        return None
    return found[2] + ("" if found[4] in {None, "/"} else found[4])


def in_text(text: str) -> set[bytes]:
    """The followable addresses that stand whole in a text, as a browser or a chat would make links of them: with a
    scheme, with a path, or beginning with `www.`. Other names with a dot may be files."""
    if "/" not in text and "www." not in text:
        return set()
    words = {word.rstrip(_ENDS) for word in _WORDS.findall(text) if "/" in word or word.startswith("www.")}
    return {found.encode() for word in words if (found := followable(word)) is not None}


def sole_argument(call: Call) -> tuple[str, str] | None:
    """The JSON pointer of a call's only argument and the address that it holds; `None` for a call that says anything else."""
    if len(call.arguments) != 1:
        return None
    ((name, value),) = call.arguments.items()
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    if call.target.labels.roles.get(pointer) is not Role.DESTINATION or not isinstance(value, str):
        return None
    found = followable(value)
    return None if found is None else (pointer, found)


def may_be_followed(call: Call, goal: str | None) -> bool:
    """Whether the links in the result of a call may be followed, if the goal names what the call looks up.

    They may if the call only reads and its system is untrusted: links of a trusted system are grounded anyway.
    """
    return goal is not None and call.target.labels.effect is Effect.READ and call.target.trust == "untrusted"
