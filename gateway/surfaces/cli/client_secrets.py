"""The secrets of a client's file, told by their names and forms. Pure but for the folders of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway.inspection.credentials.live_values import is_telling
from gateway.inspection.credentials.named import strength
from gateway.record.journal.redaction import conceal_text

SECRET_NAME: Final = re.compile(
    r"(?i)(api[-_]?key|access[-_]?key|private[-_]?key|token|secret|pass\b|passw(or)?d|passphrase|credential|auth|bearer|cookie|signature|mnemonic|\bsalt\b|\bseed\b|\bsig\b|\bkey\b|\bpat\b|\bdsn\b)"
)
REFERENCE: Final = re.compile(r"\$\{(?:(env|input|config|command):)?([^}:]+)(:-[^}]*)?\}")


def is_ordinary_variable(name: str, value: object) -> bool:
    """Return whether neither the name nor the value of a variable looks like a secret, or like a reference to one."""
    text = str(value)
    is_literal = (
        not isinstance(value, bool) and "${" not in text and not text.startswith("file:") and text.isprintable()
    )
    if not is_literal or strength(name) is not None:
        return False
    if text.startswith("/") and Path(text).is_dir() and SECRET_NAME.search(name) is None:
        return True
    if any(SECRET_NAME.search(each) for each in (name, name.replace("_", " "), text)):
        return False
    return not is_secret(text) and not any(map(is_telling, (text, *_PART.split(text))))


def names_secret(option: str) -> bool:
    """Return whether the name of an option says that its value is a secret."""
    return SECRET_NAME.search(option) is not None or strength(option) is not None


def is_token(text: str) -> bool:
    """Return whether a text is one word without a meaning, such as a key."""
    return _TOKEN.fullmatch(text) is not None and is_telling(text)


_TOKEN: Final = re.compile(r"[A-Za-z0-9_+=.~][A-Za-z0-9_+=.~-]*")
_PART: Final = re.compile(r"[\s,;:=@/?&\"']+")


def is_secret(text: str) -> bool:
    """Return whether an argument looks like a credential, or is a header or URL with a credential."""
    name, colon, _ = text.partition(":")
    header = bool(colon) and " " not in name and "/" not in name and SECRET_NAME.search(name) is not None
    return (
        conceal_text(text, 4096) != text
        or header
        or ("://" in text and (url_holds_secret(text) or any(map(is_telling, path_of(REFERENCE.sub("", text))))))
    )


def path_of(url: str) -> list[str]:
    """Return the parts of a URL behind its host, with the query at the last one."""
    return url.split("/")[3:]


def url_holds_secret(url: str) -> bool:
    """Return whether a URL has a user, a query with the name of a secret, or the form of a credential."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    named = any(SECRET_NAME.search(item.partition("=")[0]) for item in parts.query.split("&"))
    literal = REFERENCE.sub("", url)
    return "@" in parts.netloc or named or conceal_text(literal, 4096) != literal
