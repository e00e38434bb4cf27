"""The desk over HTTP: `/api/approvals` for approvers with a token, and `/approvals/{id}` for invited people.

| request | answer |
|---|---|
| `GET /api/approvals` | open questions, the oldest first |
| `GET /api/approvals/{id}` | a whole question |
| `POST /api/approvals/{id}/vote` | `{"answer", "shown", "scopes", "end_task"}` → the question after the vote |
| `GET /api/endorsements` | the endorsements in force, the oldest first |
| `POST /api/endorsements/revoke` | `{"id", "principal", "tool", "kind", "all"}` → the revoked endorsements |
| `GET /api/approvals/openapi.json` | this interface in OpenAPI 3.1 |
| `GET /approvals/{id}` | state and code of a question, without its call: the page is not behind a login |

A token of an approver names a person and no agent, and has the audience of the desk. So no token of an agent works
here. The person is in a group of approvers (`gateway.approvals.admission`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway import reasons
from gateway.approvals.admission import Approver
from gateway.approvals.digest import code_of
from gateway.approvals.endorsement import Selection
from gateway.approvals.model import WARNINGS, Person
from gateway.approvals.office import Office, SubmittedAnswer
from gateway.approvals.openapi import describe_api
from gateway.approvals.state import reason_of
from gateway.errors import GatewayError, IdentityUnavailable
from gateway.http.edge import RefusedClient
from gateway.identity.challenge import demand_login
from gateway.model.caller import Credentials, Principal
from gateway.model.decision import Reason, Refusal
from gateway.pages.responses import ReplyResponse, exchange_of, json_response
from gateway.pipeline.refuse import refuse_failure
from gateway.protocol.headers import is_passed_on, texts_of
from gateway.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.approvals.model import Question
    from gateway.composition import Gateway
    from gateway.pipeline.people import Approvers, People

_STORE: Final = (b"cache-control", b"no-store")

Handler = Callable[["Gateway", Office, "Request", Approver], Awaitable[Response]]


def approval_routes(gateway: Gateway, *, has_console: bool = False) -> list[Route]:
    """Return the routes of the desk: none without people. With a console, the page of a question leads there."""
    people = gateway.people
    if people is None:
        return []
    routes = [Route("/approvals/{id}", partial(_show_state, people, has_console))]
    if people.approvers is not None:
        known = partial(_for_person, gateway, people, people.approvers)
        routes += [
            Route("/api/approvals", partial(known, _list)),
            Route("/api/approvals/openapi.json", _show_interface),
            Route("/api/approvals/{id}", partial(known, _show)),
            Route("/api/approvals/{id}/vote", partial(known, _vote), methods=["POST"]),
            Route("/api/endorsements", partial(known, _list_endorsements)),
            Route("/api/endorsements/revoke", partial(known, _revoke), methods=["POST"]),
        ]
    return routes


async def _for_person(
    gateway: Gateway, people: People, approvers: Approvers, handle: Handler, request: Request
) -> Response:
    """Answer the request of an approver, and refuse every other person."""
    exchange = exchange_of(request)
    credentials = Credentials(
        method=exchange.method,
        url=exchange.url,
        authorization=texts_of(exchange.fields, b"authorization"),
        dpop=texts_of(exchange.fields, b"dpop"),
        passed_on=is_passed_on(exchange.fields),
    )
    try:
        principal = await approvers.identities.identify(credentials, exchange.client_ip)
    except IdentityUnavailable as error:
        principal = refuse_failure(error)
    approver = principal if isinstance(principal, Refusal) else _admit(people, approvers, principal)
    if isinstance(approver, Refusal):
        reply = await gateway.pipeline.refuser.refuse_early(
            approver, RefusedClient(exchange.client_ip, exchange.headers)
        )
        return ReplyResponse(reply)
    try:
        return await handle(gateway, people.office, request, approver)
    except GatewayError as error:
        return _refuse(reasons.reason_of(error), 503)


def _admit(people: People, approvers: Approvers, principal: Principal) -> Approver | Refusal:
    """Return the approver of a verified token: a person without an agent, in a group of approvers."""
    user = principal.user
    if user is None or principal.delegation:
        return reasons.IDENTITY_PERSON.refusal()
    person = Person(user.id, principal.issuer, user.groups, approvers.assurance, "api", principal.logged_in)
    found = people.admission.admit(person)
    return reasons.VOTE_MEMBER.refusal() if isinstance(found, Reason) else found


async def _list(_gateway: Gateway, office: Office, _request: Request, approver: Approver) -> Response:
    return json_response({"questions": office.list(approver)}, _STORE)


async def _show(_gateway: Gateway, office: Office, request: Request, approver: Approver) -> Response:
    found = await office.show(request.path_params["id"], approver)
    return _refuse(found) if isinstance(found, Reason) else json_response(found, _STORE)


async def _vote(_gateway: Gateway, office: Office, request: Request, approver: Approver) -> Response:
    body = await exchange_of(request).body()
    if isinstance(body, Refusal):
        return _refuse(body.reason, body.status)
    try:
        answer = msgspec.json.decode(body, type=SubmittedAnswer)
    except msgspec.MsgspecError as error:
        return _refuse(reasons.VOTE_INVALID.reason(problem=error))
    identifier = request.path_params["id"]
    counted = await office.vote(identifier, approver, answer)
    if isinstance(counted, Reason):
        return (
            _demand_login(request, office, identifier, counted)
            if counted.code == reasons.VOTE_LOGIN.code
            else _refuse(counted)
        )
    return json_response(counted, _STORE)


def _demand_login(request: Request, office: Office, identifier: str, reason: Reason) -> Response:
    """Refuse a vote with a challenge for a new login of the client's user (RFC 9470)."""
    approval = office.desk.get(identifier)
    max_age = None if approval is None else approval.question.rule.max_age
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    challenge = demand_login(max_age or 0, dpop=scheme == "dpop")
    return _refuse(reason, 401, (b"www-authenticate", challenge.encode("ascii")))


async def _list_endorsements(_gateway: Gateway, office: Office, _request: Request, approver: Approver) -> Response:
    return json_response({"endorsements": office.list_endorsements(approver)}, _STORE)


async def _revoke(_gateway: Gateway, office: Office, request: Request, approver: Approver) -> Response:
    body = await exchange_of(request).body()
    if isinstance(body, Refusal):
        return _refuse(body.reason, body.status)
    try:
        selection = msgspec.json.decode(body, type=Selection)
    except msgspec.MsgspecError as error:
        return _refuse(reasons.ENDORSEMENT_INVALID.reason(problem=error))
    revoked = await office.revoke(selection, approver)
    return _refuse(revoked) if isinstance(revoked, Reason) else json_response({"endorsements": revoked}, _STORE)


async def _show_interface(_request: Request) -> Response:
    return json_response(describe_api())


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
    _STORE,
)


def _refuse(reason: Reason, status: int | None = None, *headers: tuple[bytes, bytes]) -> Response:
    shown: dict[str, Any] = {"code": reason.code, "message": reason.message, "remedy": reason.remedy}
    return json_response({"error": shown}, _STORE, *headers, status=status or reasons.status_of(reason.code))
