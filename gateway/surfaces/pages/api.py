"""The control interface over HTTP: the operations with a route, for approvers and operators with a token.

A token names a person and no agent, and has the audience of one role. So no token of an agent works here, and an approver's
is no operator's. Cookies are not read. The person is in a group of the role. `GET /api/openapi.json` describes the interface.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw
from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.approvals.model import CLOCK_SKEW
from gateway.base.control.operations import describe_refusal, read_request
from gateway.calls.pipeline.refuse import refuse_failure
from gateway.identity.challenge import demand_login
from gateway.model import reasons
from gateway.model.caller import Credentials
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import IdentityUnavailable
from gateway.surfaces.pages.openapi import describe_api
from gateway.surfaces.pages.responses import exchange_of, json_response
from gateway.wire.http.edge import RefusedClient
from gateway.wire.protocol.headers import is_passed_on, texts_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.base.control.operations import Operation
    from gateway.calls.composition import Gateway
    from gateway.calls.pipeline.people import TokenPeople
    from gateway.model.caller import Principal

_STORE: Final = (b"cache-control", b"no-store")


def api_routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the roles whose people have tokens, and the description of all."""
    people, operations = gateway.token_people, gateway.control.declared.values()
    if not people:
        return []
    served = [(each, each.route) for each in operations if each.route is not None and each.role in people]
    return [
        Route("/api/openapi.json", partial(_show_interface, describe_api(operations))),
        *(Route(path, partial(_answer, gateway, each), methods=[method]) for each, (method, path) in served),
    ]


async def _show_interface(described: dict[str, Any], _request: Request) -> Response:
    return json_response(described)


async def _answer(gateway: Gateway, operation: Operation, request: Request) -> Response:
    """Answer the request of a person with the role, and refuse every other person."""
    people = gateway.token_people[operation.role]
    principal = await _identify(people, request)
    by = principal if isinstance(principal, Refusal) else _admit(people, principal)
    if isinstance(principal, Refusal) or isinstance(by, Refusal):
        exchange = exchange_of(request)
        client = RefusedClient(exchange.client_ip, exchange.headers)
        await gateway.pipeline.refuser.refuse_early(by, client)
        challenge = () if by.challenge is None else ((b"www-authenticate", by.challenge.encode("ascii")),)
        return _refuse(by.reason, by.status, *challenge)
    if people.fresh is not None and _is_stale(operation, principal, people.fresh, gateway.clock()):
        return _demand_login(request, reasons.OPERATOR_LOGIN.reason(max_age=int(people.fresh)), int(people.fresh))
    found = await _perform(gateway, operation, request, by)
    if isinstance(found, Refusal):
        return _refuse(found.reason, found.status)
    if not isinstance(found, Reason):
        return json_response(found, _STORE)
    if found.code != reasons.VOTE_LOGIN.code:
        return _refuse(found)
    approval = None if gateway.people is None else gateway.people.office.find(request.path_params["id"])
    return _demand_login(request, found, 0 if approval is None else approval.question.rule.max_age or 0)


async def _identify(people: TokenPeople, request: Request) -> Principal | Refusal:
    """Return the owner of a request's token."""
    exchange = exchange_of(request)
    credentials = Credentials(
        method=exchange.method,
        url=exchange.url,
        authorization=texts_of(exchange.fields, b"authorization"),
        dpop=texts_of(exchange.fields, b"dpop"),
        passed_on=is_passed_on(exchange.fields),
    )
    try:
        return await people.identities.identify(credentials, exchange.client_ip)
    except IdentityUnavailable as error:
        return refuse_failure(error)


def _admit(people: TokenPeople, principal: Principal) -> Any:
    """Return the person with the role, or the refusal of agents and of people without it."""
    user = principal.user
    if user is None or principal.delegation:
        return reasons.IDENTITY_PERSON.refusal()
    found = people.admit(principal, user)
    return (
        Refusal(reasons.status_of(found.code), found, reasons.IDENTITY_PERSON.rpc_code)
        if isinstance(found, Reason)
        else found
    )


def _is_stale(operation: Operation, principal: Principal, fresh: float, now: float) -> bool:
    """Return whether an operation is a change, and the person's login is too old, in the future, or of an unknown time."""
    is_change = operation.route is not None and operation.route[0] == "POST"
    login = principal.logged_in
    return is_change and (login is None or not now - fresh <= login <= now + CLOCK_SKEW)


async def _perform(gateway: Gateway, operation: Operation, request: Request, by: Any) -> Any:
    """Return the answer, the reason of a refusal, or the refusal of a body that cannot be read."""
    known = gateway.control.find(operation.name)
    if isinstance(known, Reason):
        return known
    is_read = request.method in {"GET", "HEAD"}
    body = _read_query(request) if is_read else await exchange_of(request).body()
    if isinstance(body, Refusal | Reason):
        return body
    fields = _join_fields(body, request.path_params)
    if isinstance(fields, Reason):
        return fields
    return await gateway.control.perform(operation, fields, by, is_text=is_read)


def _read_query(request: Request) -> bytes | Reason:
    """Return the fields of a query as JSON, each once."""
    pairs = request.query_params.multi_items()
    if len(dict(pairs)) < len(pairs):
        return reasons.CONTROL_INVALID.reason(problem="the query names a field twice")
    return msgspec.json.encode(dict(pairs))


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


def _demand_login(request: Request, reason: Reason, max_age: int) -> Response:
    """Refuse a request with a challenge for a new login of the client's user (RFC 9470)."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    challenge = demand_login(max_age, dpop=scheme == "dpop")
    return _refuse(reason, 401, (b"www-authenticate", challenge.encode("ascii")))


def _refuse(reason: Reason, status: int | None = None, *headers: tuple[bytes, bytes]) -> Response:
    return json_response(describe_refusal(reason), _STORE, *headers, status=status or reasons.status_of(reason.code))
