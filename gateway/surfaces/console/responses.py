"""Answers of the console, with the headers that keep other sites and other people's words out."""

from __future__ import annotations

from typing import Final

from starlette.responses import HTMLResponse, RedirectResponse, Response

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
