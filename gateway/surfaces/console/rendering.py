"""Pages from Jinja2 templates, and the answers around pages.

Jinja2 escapes every text for HTML, and `spell` spells out hidden characters. The headers keep other sites out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.authority.approvals.lines import show_values, texts_of
from gateway.base.concurrency.background import ThreadTurns
from gateway.base.letters import cut, find_mixed_words, spell_out

if TYPE_CHECKING:
    from collections.abc import Mapping


POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    # With `no-referrer` a browser sends `Origin: null` with the console's own forms (Fetch, "append a request Origin header").
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def html(text: str, status: int = 200) -> Response:
    """Return a page."""
    return HTMLResponse(text, status, HEADERS)


def see_other(path: str) -> Response:
    """Return the answer that sends a browser to another page of the console."""
    return RedirectResponse(path, 303, HEADERS)


def leave_for(url: str) -> Response:
    """Return the answer that sends a browser to the identity provider."""
    return RedirectResponse(url, 303, HEADERS)


def own_path(path: str) -> str:
    """Return a path to go back to, if it is one of the console; else the first page."""
    is_own = path == "/console" or path.startswith(("/console/", "/console?"))
    return path if is_own and path.isprintable() and "\\" not in path else "/console"


_LONGEST: Final = 256 * 2**10
"""Characters of one text on a page."""


_ONE_LINE: Final = 200


class Templates:
    """The templates of the console, compiled at first use."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.surfaces.console"),
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


def _spell_out(text: str) -> str:
    return spell_out(cut(text, _LONGEST))


def keep_raw(text: str) -> Markup:
    """Return a text for a hidden field of a form, with its hidden characters: the gateway gets the same text back."""
    return escape(text)


def write_one_line(value: object) -> str:
    """Return a value as one line of JSON, cut after `_ONE_LINE` characters."""
    return cut(json.dumps(value, ensure_ascii=False), _ONE_LINE)


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


def find_odd_words(value: object) -> list[str]:
    """Return the words in a text or in JSON that may look like other words, with the names of the odd letters."""
    return list(dict.fromkeys(word for text in texts_of(value) for word in find_mixed_words(text)))


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "one_line": write_one_line,
    "time": write_time,
    "mixed": find_odd_words,
    "raw": keep_raw,
    "values": show_values,
    "short": shorten,
    "shorten_middle": shorten_middle,
}
