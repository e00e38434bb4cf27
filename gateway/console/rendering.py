"""Pages from Jinja2 templates. Every text is escaped for HTML, and its hidden characters are spelled out, whoever wrote it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway.background import ThreadTurns
from gateway.catalogue.pins import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 256 * 2**10
"""Characters of one text on a page."""


_ONE_LINE: Final = 200


class Templates:
    """The templates of the console, compiled at first use."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.console"),
            # All templates are markup: pages and the graph.
            autoescape=True,
            finalize=spell,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= _FILTERS

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        """Return the text of a page."""
        return self._environment.get_template(name).render(context)

    def render_aside(self, name: str, context: Mapping[str, Any]) -> str:
        """Return the same text for a thread beside the event loop, which gets its turn in between."""
        pieces: list[str] = []
        turns = ThreadTurns()
        for piece in self._environment.get_template(name).generate(context):
            pieces.append(piece)
            turns.give()
        return "".join(pieces)


def spell(value: Any) -> Any:
    """Return a value for a page, with the hidden characters of a text spelled out. Jinja2 escapes it then."""
    return _spell_out(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def spell_lines(text: object) -> Markup:
    """Return a text of several lines: line ends stay, and all other hidden characters are spelled out."""
    return Markup("\n").join(map(_spell_out, str(text).split("\n")))


def _spell_out(text: str) -> str:
    shown = visible(text[:_LONGEST])
    return shown if len(text) <= _LONGEST else f"{shown} […{len(text) - _LONGEST} more characters]"


def keep_raw(text: str) -> Markup:
    """Return a text for a hidden field of a form, with its hidden characters: the gateway gets the same text back."""
    return escape(text)


def write_json(value: object) -> Markup:
    """Return a value as JSON in a fixed order, as `opagate approvals show` prints it."""
    return spell_lines(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def write_one_line(value: object) -> str:
    """Return a value as one line of JSON, cut after `_ONE_LINE` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _ONE_LINE else f"{text[:_ONE_LINE]}…"


def write_time(seconds: float) -> str:
    """Return a time in RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def shorten(text: str, longest: int = 12) -> str:
    """Return the first characters of an identifier."""
    return text[:longest]


def shorten_middle(text: str, longest: int) -> str:
    """Return a text without its middle, if it is longer."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[: longest - half]}…{text[-half + 1 :]}"


def find_mixed_words(value: object) -> list[str]:
    """Return the words of mixed alphabets in a text or in JSON, with the names of the odd letters.

    A name with a foreign letter that looks alike is another name for the gateway, and the same name for a reader.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text.isascii():
        return []
    found = [_describe_mixed(word) for word in dict.fromkeys(_words(text[:_LONGEST]))]
    return [one for one in found if one is not None][:_MIXED]


_MIXED: Final = 20
_ALPHABETS: Final = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")
"""Alphabets with letters that look like those of another."""


def _words(text: str) -> list[str]:
    return "".join(character if character.isalnum() else " " for character in text).split()


def _describe_mixed(word: str) -> str | None:
    alphabets: dict[str, list[str]] = {}
    for character in word:
        name = unicodedata.name(character, "")
        alphabet = name.partition(" ")[0]
        if alphabet in _ALPHABETS:
            alphabets.setdefault(alphabet, []).append(name)
    if len(alphabets) < 2:
        return None
    rarest = min(alphabets.values(), key=len)
    return f"{word} ({', '.join(dict.fromkeys(rarest))})"


def describe_assurance(assurance: str) -> str:
    """Return the login that an approval needs, in words."""
    return _ASSURANCES.get(assurance, f"with the assurance {assurance}")


_ASSURANCES: Final = {
    "chat": "by any channel, also a chat",
    "peer": "with an account on this machine, or a login at the identity provider",
    "login": "with a login at the identity provider",
    "mfa": "with a login by a second factor",
    "passkey": "with a login by a passkey",
}

_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "lines": spell_lines,
    "json": write_json,
    "one_line": write_one_line,
    "time": write_time,
    "mixed": find_mixed_words,
    "raw": keep_raw,
    "assurance": describe_assurance,
    "short": shorten,
    "shorten_middle": shorten_middle,
}
