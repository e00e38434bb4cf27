"""`GET /approvals/{id}`: state and code of a question, without its call. The page is not behind a login."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.approvals.digest import code_of
from gateway.authority.approvals.model import WARNINGS
from gateway.authority.approvals.state import reason_of
from gateway.surfaces.pages.responses import ReplyResponse
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.authority.approvals.model import Question
    from gateway.calls.composition import Gateway
    from gateway.calls.pipeline.people import People


def approval_routes(gateway: Gateway, *, has_console: bool = False) -> list[Route]:
    """Return the route: none without people. With a console, the page of a question leads there."""
    people = gateway.people
    return [] if people is None else [Route("/approvals/{id}", partial(_show_state, people, has_console))]


async def _show_state(people: People, has_console: bool, request: Request) -> Response:  # noqa: FBT001 - bound by partial
    """Show the state of a question. The id is a random name, known to the waiting caller."""
    approval = people.desk.get(request.path_params["id"])
    if approval is None:
        return _page(404, "There is no such question", "It was answered, or its time is over.", None)
    told = {"granted": "A person approved the call. It passes when it comes again.", "used": "The call has passed."}
    text = told.get(approval.state) or reason_of(approval).message
    return _page(
        200,
        f"A call that needs a person: {approval.state}",
        text,
        code_of(approval.question),
        _warn(approval.question) + _HELP + (_CONSOLE.format(escape(approval.id)) if has_console else ""),
    )


def _warn(question: Question) -> str:
    return "".join(f"<p>Look closely: {escape(WARNINGS[name])}.</p>" for name in question.warnings)


def _page(status: int, title: str, text: str, code: str | None, help_text: str = "") -> Response:
    named = "" if code is None else f"<p>The code of the question is <strong>{escape(code)}</strong>.</p>"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p>{named}{help_text}"
    )
    return ReplyResponse(Reply(status, _PAGE_HEADERS, page.encode()))


_HELP: Final = "<p>Approvers answer with <code>opagate approvals</code>.</p>"
_CONSOLE: Final = '<p>Or they answer <a href="/console/approvals/{}">at the console</a>.</p>'
_PAGE_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
