"""The control interface over HTTP: the operations with a route, for approvers with a token.

A token of an approver names a person and no agent, and has the audience of `/api`. So no token of an agent works here.
The person is in a group of approvers (`gateway.authority.approvals.admission`). `GET /api/openapi.json` describes the interface.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw
from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.approvals.model import Person
from gateway.base.control.operations import describe_refusal, read_request
from gateway.calls.pipeline.refuse import refuse_failure
from gateway.identity.challenge import demand_login
from gateway.model import reasons
from gateway.model.caller import Credentials, Principal
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import IdentityUnavailable
from gateway.surfaces.pages.openapi import describe_api
from gateway.surfaces.pages.responses import ReplyResponse, exchange_of, json_response
from gateway.wire.http.edge import RefusedClient
from gateway.wire.protocol.headers import is_passed_on, texts_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.authority.approvals.admission import Approver
    from gateway.base.control.operations import Operation
    from gateway.calls.composition import Gateway
    from gateway.calls.pipeline.people import Approvers, People

_STORE: Final = (b"cache-control", b"no-store")


def api_routes(gateway: Gateway) -> list[Route]:
    """Return the routes: none without people who answer by a token."""
    people, operations = gateway.people, gateway.control.declared.values()
    if people is None or people.approvers is None:
        return []
    answer = partial(_answer, gateway, people, people.approvers)
    served = [(each, each.route) for each in operations if each.route is not None]
    described = describe_api(operations)
    return [
        Route("/api/openapi.json", partial(_show_interface, described)),
        *(Route(path, partial(answer, each), methods=[method]) for each, (method, path) in served),
    ]


async def _show_interface(described: dict[str, Any], _request: Request) -> Response:
    return json_response(described)


async def _answer(
    gateway: Gateway, people: People, approvers: Approvers, operation: Operation, request: Request
) -> Response:
    """Answer the request of an approver, and refuse every other person."""
    exchange = exchange_of(request)
    approver = await _identify(people, approvers, request)
    if isinstance(approver, Refusal):
        client = RefusedClient(exchange.client_ip, exchange.headers)
        return ReplyResponse(await gateway.pipeline.refuser.refuse_early(approver, client))
    body = b"{}" if request.method in {"GET", "HEAD"} else await exchange.body()
    if isinstance(body, Refusal):
        return _refuse(body.reason, body.status)
    fields = _join_fields(body, request.path_params)
    found = fields if isinstance(fields, Reason) else await gateway.control.perform(operation, fields, approver)
    if not isinstance(found, Reason):
        return json_response(found, _STORE)
    return _demand_login(request, people, found) if found.code == reasons.VOTE_LOGIN.code else _refuse(found)


async def _identify(people: People, approvers: Approvers, request: Request) -> Approver | Refusal:
    """Return the approver behind a request: a person without an agent, in a group of approvers."""
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
        return refuse_failure(error)
    return principal if isinstance(principal, Refusal) else _admit(people, approvers, principal)


def _admit(people: People, approvers: Approvers, principal: Principal) -> Approver | Refusal:
    user = principal.user
    if user is None or principal.delegation:
        return reasons.IDENTITY_PERSON.refusal()
    person = Person(user.id, principal.issuer, user.groups, approvers.assurance, "api", principal.logged_in)
    found = people.admission.admit(person)
    return reasons.VOTE_MEMBER.refusal() if isinstance(found, Reason) else found


def _join_fields(body: bytes, named: dict[str, str]) -> bytes | Reason:
    """Return the fields of a request. The path names some of them, and the body has the others."""
    if not named:
        return body
    fields = read_request(body, dict[str, Raw])
    if isinstance(fields, Reason):
        return fields
    if twice := fields.keys() & named.keys():
        return reasons.CONTROL_INVALID.reason(problem=f"the path names `{min(twice)}`, and the body too")
    return msgspec.json.encode({**fields, **named})


def _demand_login(request: Request, people: People, reason: Reason) -> Response:
    """Refuse a vote with a challenge for a new login of the client's user (RFC 9470)."""
    approval = people.desk.get(request.path_params["id"])
    max_age = None if approval is None else approval.question.rule.max_age
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    challenge = demand_login(max_age or 0, dpop=scheme == "dpop")
    return _refuse(reason, 401, (b"www-authenticate", challenge.encode("ascii")))


def _refuse(reason: Reason, status: int | None = None, *headers: tuple[bytes, bytes]) -> Response:
    return json_response(describe_refusal(reason), _STORE, *headers, status=status or reasons.status_of(reason.code))
