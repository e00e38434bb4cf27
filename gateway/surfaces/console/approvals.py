"""Questions about held calls: the list, one question, and the answer to it.

Answers go through the office of the desk, as over the socket and the API. The office gets the person of the login.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.authority.approvals.endorsement import EndorsementSelection
from gateway.authority.approvals.lines import build_blocks
from gateway.authority.approvals.office import SubmittedAnswer
from gateway.authority.approvals.rendering import summarize
from gateway.authority.approvals.sentence import View
from gateway.model import reasons
from gateway.model.caller import canonical_person
from gateway.model.decision import Reason
from gateway.surfaces.console.rendering import HEADERS, see_other
from gateway.surfaces.console.visits import ConsoleVisit, Handler, action_route, page_route

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Approval
    from gateway.authority.approvals.rules import Approver
    from gateway.calls.pipeline.people import People
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/approvals"
_ENDED: Final = 20
"""Answered questions on the list, the latest."""


def approval_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of questions; none without a desk."""
    if console.gateway.people is None:
        return []
    return [
        page_route(console, PATH, "approver", for_approver(_list)),
        page_route(console, f"{PATH}/{{id}}", "approver", for_approver(_show)),
        action_route(console, f"{PATH}/{{id}}/vote", "approver", for_approver(_vote)),
        action_route(console, f"{PATH}/{{id}}/sign", "approver", for_approver(_begin_signature)),
        action_route(console, f"{PATH}/endorsements/revoke", "approver", for_approver(_revoke)),
    ]


def people_of(visit: ConsoleVisit) -> People:
    """Return the people's side of the gateway."""
    people = visit.console.gateway.people
    assert people is not None  # noqa: S101 - without people there are no routes
    return people


def for_approver(handle: Callable[[ConsoleVisit, Approver], Awaitable[Response]]) -> Handler:
    """Return a handler for approvers alone. The role of a visitor is of the login; this check is of each request."""

    async def answer(visit: ConsoleVisit) -> Response:
        visitor = visit.session.visitor
        approver = people_of(visit).admission.admit(visitor.person, is_listed=visitor.login == "link")
        return visit.refuse(approver) if isinstance(approver, Reason) else await handle(visit, approver)

    return answer


async def _list(visit: ConsoleVisit, approver: Approver) -> Response:
    people = people_of(visit)
    await people.office.catch_up()
    questions = people.office.list(approver)
    return visit.page(
        "approvals.html",
        waiting=[one for one in questions if one["state"] == "pending" and not one["is_in_line"]],
        in_line=sum(one["is_in_line"] for one in questions),
        granted=[one for one in questions if one["state"] != "pending"],
        ended=[summarize(one) for one in _list_ended(people)],
        endorsements=people.office.list_endorsements(approver),
        done=visit.request.query_params.get("done", ""),
    )


def _list_ended(people: People) -> list[Approval]:
    over = [one for one in people.desk.list_remembered() if one.state not in {"pending", "granted"}]
    return sorted(over, key=lambda one: one.question.asked, reverse=True)[:_ENDED]


async def _show(visit: ConsoleVisit, approver: Approver) -> Response:
    return await _show_question(visit, approver)


async def _show_question(visit: ConsoleVisit, approver: Approver, *, refused: Reason | None = None) -> Response:
    """Show all of a question. A refused vote is told on the same page, so that the person can read and answer again."""
    people, name = people_of(visit), canonical_person(approver.person.id)
    found = await people.office.show(visit.request.path_params["id"], approver, may_sign=True)
    if isinstance(found, Reason):
        return visit.refuse(found)
    approval = people.desk.get(found["id"])
    max_age = None if approval is None else approval.question.rule.max_age
    has_voted = any(canonical_person(one["id"]) == name for one in found["votes_by"])
    return visit.page(
        "approval.html",
        status=200 if refused is None else 409,
        question=found,
        blocks={block.name: block for block in build_blocks(found, View(people.desk.now()))},
        refused=refused,
        max_age=max_age,
        has_voted=has_voted,
        has_provider=visit.console.provider is not None,
    )


async def _vote(visit: ConsoleVisit, approver: Approver) -> Response:
    """Count the person's answer to the question as it stood on the page."""
    counted = await people_of(visit).office.vote(approver, _read_answer(visit), visit.value("signature") or None)
    if isinstance(counted, Reason):
        return (
            visit.refuse(counted)
            if counted.code == reasons.VOTE_UNKNOWN.code
            else await _show_question(visit, approver, refused=counted)
        )
    return see_other(f"{PATH}/{counted['id']}")


async def _begin_signature(visit: ConsoleVisit, approver: Approver) -> Response:
    """Answer with the options by which the browser signs the person's answer."""
    return options(await people_of(visit).office.begin_signature(approver, _read_answer(visit)))


def options(found: dict[str, Any] | Reason) -> Response:
    """Return the options for a browser's passkey as JSON, or the refusal with its status."""
    if isinstance(found, Reason):
        refused = {"code": found.code, "message": found.message, "remedy": found.remedy}
        return JSONResponse(refused, reasons.status_of(found.code), HEADERS)
    return JSONResponse(found, headers=HEADERS)


def _read_answer(visit: ConsoleVisit) -> SubmittedAnswer:
    answer = visit.value("answer")
    end_task = answer == "deny-and-end"
    scopes = ["once", *visit.form.get("scope", [])]
    identifier: str = visit.request.path_params["id"]
    return SubmittedAnswer(identifier, "deny" if end_task else answer, visit.value("shown"), scopes, end_task)


async def _revoke(visit: ConsoleVisit, approver: Approver) -> Response:
    revoked = await people_of(visit).office.revoke(EndorsementSelection(id=visit.value("id")), approver)
    return visit.refuse(revoked) if isinstance(revoked, Reason) else see_other(f"{PATH}?done=revoked")
