"""`GET /approvals/{id}`: a question without the values of its call. The page is not behind a login."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.approvals.digest import code_of
from gateway.authority.approvals.lines import build_open_blocks
from gateway.authority.approvals.rendering import describe_openly
from gateway.authority.approvals.sentence import View
from gateway.authority.approvals.state import reason_of
from gateway.surfaces.pages.responses import ReplyResponse
from gateway.surfaces.pages.styled import STYLE_SOURCE, write_page, write_text
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.authority.approvals.lines import Block
    from gateway.authority.approvals.model import Approval
    from gateway.calls.composition import Gateway
    from gateway.calls.pipeline.people import People


def approval_routes(gateway: Gateway, *, has_console: bool = False) -> list[Route]:
    """Return the route: none without people. With a console, the page of a question leads there."""
    people = gateway.people
    return [] if people is None else [Route("/approvals/{id}", partial(_show_state, people, has_console))]


async def _show_state(people: People, has_console: bool, request: Request) -> Response:  # noqa: FBT001 - bound by partial
    """Show the state of a question. The id is a random name, known to the waiting caller. A code of four letters opens nothing here."""
    approval = people.desk.get(request.path_params["id"])
    if approval is None:
        return _page(404, "There is no such question", "<p>It was answered, or its time is over.</p>")
    blocks = build_open_blocks(describe_openly(approval), View(people.desk.now()))
    content = f"<p>{write_text(_tell_state(approval))}</p>" + "".join(map(_write_block, blocks))
    content += (
        f'<p>The code of the question is <strong class="letters">{escape(code_of(approval.question))}</strong>.</p>'
    )
    content += (_CONSOLE.format(escape(approval.id)) if has_console else "") + _HELP
    return _page(200, f"A call that needs a person: {approval.state}", content)


def _tell_state(approval: Approval) -> str:
    told = {"granted": "A person approved the call. It passes when it comes again.", "used": "The call has passed."}
    return told.get(approval.state) or reason_of(approval).message


def _write_block(block: Block) -> str:
    kind = {"brief": "brief", "warnings": "alarm"}.get(block.name, "soft")
    return "".join(f'<p class="{kind}"><bdi>{write_text(line.text)}</bdi></p>' for line in block.lines)


def _page(status: int, title: str, content: str) -> Response:
    return ReplyResponse(Reply(status, _PAGE_HEADERS, write_page(title, content)))


_HELP: Final = '<p class="soft">Approvers answer with <code>opagate approvals</code>, too.</p>'
_CONSOLE: Final = '<p><a class="button" href="/console/approvals/{}">Answer at the console</a></p>'
_PAGE_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src {STYLE_SOURCE}; base-uri 'none'; frame-ancestors 'none'".encode(),
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
