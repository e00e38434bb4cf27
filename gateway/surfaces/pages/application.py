"""The Starlette application of all pages, and the refusals of unknown paths and methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.surfaces.pages.api import api_routes
from gateway.surfaces.pages.approvals import approval_routes
from gateway.surfaces.pages.connect import connect_routes
from gateway.surfaces.pages.probes import document_routes, probe_routes
from gateway.surfaces.pages.responses import ReplyResponse, allowed_methods, exchange_of
from gateway.surfaces.pages.sign_in import sign_in_routes
from gateway.surfaces.pages.signals import signal_routes
from gateway.surfaces.pages.tasks import task_routes
from gateway.surfaces.pages.tokens import token_routes
from gateway.wire.http.edge import RefusedClient

if TYPE_CHECKING:
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration

_TOKEN_PATHS: Final = (
    "/register",
    "/authorize",
    "/token",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
)
"""The paths at which clients look for an authorization server that they take the gateway for."""


def build_pages(
    configuration: Configuration, gateway: Gateway, *, is_draining: Callable[[], bool], more: Sequence[Route] = ()
) -> Starlette:
    """Return the application of all pages. `more` are routes of other packages."""
    routes = [
        *probe_routes(gateway, is_draining),
        *task_routes(gateway),
        *api_routes(gateway),
        *approval_routes(gateway, has_console=configuration.console is not None),
        *document_routes(gateway.served),
        *token_routes(configuration, gateway),
        *signal_routes(gateway),
        *connect_routes(configuration, gateway),
        *sign_in_routes(configuration, gateway.clock),
        *more,
    ]
    show_no_page = partial(_refuse_path, gateway, has_console=configuration.console is not None)
    handlers = {404: show_no_page, 405: partial(_refuse_method, gateway)}
    pages = Starlette(routes=routes, exception_handlers=handlers)
    # The target of a redirection would have the host that the caller named.
    pages.router.redirect_slashes = False
    return pages


async def _refuse_path(gateway: Gateway, request: Request, _error: Exception, *, has_console: bool) -> Response:
    if has_console and _is_browser_at_root(request):
        # The browser adds its own host to the path. `vary` keeps a cache from giving this answer to agents.
        return RedirectResponse("/console", 303, {"cache-control": "no-store", "vary": "accept"})
    is_token_path = request.scope["path"].startswith(_TOKEN_PATHS)
    found = reasons.REQUEST_PATH_OF_TOKENS if is_token_path else reasons.REQUEST_PATH
    return await _refuse(gateway, request, found.refusal())


def _is_browser_at_root(request: Request) -> bool:
    """Return whether a person types the address of the gateway alone. Agents and monitors ask for no HTML."""
    is_read = request.method in {"GET", "HEAD"} and request.scope["path"] == "/"
    return is_read and "text/html" in request.headers.get("accept", "").lower()


async def _refuse_method(gateway: Gateway, request: Request, error: Exception) -> Response:
    allowed = allowed_methods(error)
    found = reasons.REQUEST_METHOD_OF_PAGE if b"GET" in allowed[1] else reasons.REQUEST_METHOD_OF_FORM
    return await _refuse(gateway, request, found.refusal(), allowed)


async def _refuse(gateway: Gateway, request: Request, refusal: Refusal, *headers: tuple[bytes, bytes]) -> Response:
    """Record the refusal of a request by an unknown caller, and return the answer."""
    exchange = exchange_of(request)
    return ReplyResponse(
        await gateway.pipeline.refuser.refuse_early(refusal, RefusedClient(exchange.client_ip, exchange.headers)),
        *headers,
    )
