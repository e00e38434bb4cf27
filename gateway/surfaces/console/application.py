"""The routes of the console, and its files. `app` mounts them beside the other pages."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

from gateway.base.control.line_socket import Account, own_uid
from gateway.model.decision import Reason
from gateway.surfaces.console import (
    approvals,
    callers,
    decisions,
    leases,
    passkeys,
    policy,
    search,
    stops,
    tasks,
    tools,
)
from gateway.surfaces.console.feed import event_routes
from gateway.surfaces.console.logins import login_routes
from gateway.surfaces.console.overview import show_overview
from gateway.surfaces.console.rendering import HEADERS
from gateway.surfaces.console.sessions import make_link
from gateway.surfaces.console.visits import NavigationEntry, page_route

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.authority.approvals.rules import Accounts
    from gateway.calls.composition import Gateway
    from gateway.surfaces.console.visits import ConsoleParts

_FILES: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Console(NamedTuple):
    """The console of a gateway that serves."""

    parts: ConsoleParts
    accounts: Accounts

    @property
    def routes(self) -> list[Route]:
        """Return the routes of all pages."""
        return console_routes(self.parts)

    async def link(self) -> str | None:
        """Return the address of a new one-time link for the gateway's own account; `None` with a login at a provider.

        Raises `StoreError`.
        """
        if self.parts.provider is not None:
            return None
        found = await make_link(self.parts, self.accounts, Account(own_uid(), has_terminal=True))
        return None if isinstance(found, Reason) else found.url


def find_navigation(gateway: Gateway) -> tuple[NavigationEntry, ...]:
    """Return the pages of the navigation, in their order."""
    return (
        NavigationEntry("/console", "Overview", None),
        *(() if gateway.people is None else (NavigationEntry(approvals.PATH, "Approvals", "approver"),)),
        *(() if gateway.people is None else (NavigationEntry(passkeys.PATH, "Passkeys", "approver"),)),
        NavigationEntry(decisions.PATH, "Decisions", "viewer"),
        NavigationEntry(search.PATH, "Search", "viewer"),
        NavigationEntry(tasks.PATH, "Tasks", "viewer"),
        NavigationEntry(callers.AGENTS, "Agents", "viewer"),
        NavigationEntry(callers.USERS, "Users", "viewer"),
        NavigationEntry(tools.PATH, "Tools", "viewer"),
        *(() if gateway.authority is None else (NavigationEntry(leases.PATH, "Leases", "viewer"),)),
        NavigationEntry(stops.PATH, "Stops", "viewer"),
        NavigationEntry(policy.PATH, "Policy", "viewer"),
    )


def console_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of all pages of the console."""
    return [
        page_route(console, "/console", None, show_overview),
        *approvals.approval_routes(console),
        *passkeys.passkey_routes(console),
        *decisions.decision_routes(console),
        *tasks.task_routes(console),
        *callers.caller_routes(console),
        *search.search_routes(console),
        *tools.tool_routes(console),
        *leases.lease_routes(console),
        *stops.stop_routes(console),
        *policy.policy_routes(console),
        *event_routes(console),
        *login_routes(console),
        *(Route(f"/console/static/{name}", partial(_show_file, _load(name), kind)) for name, kind in _FILES.items()),
    ]


def _load(name: str) -> bytes:
    return (files("gateway.surfaces.console") / "static" / name).read_bytes()


async def _show_file(content: bytes, kind: str, _request: Request) -> Response:
    headers = {**HEADERS, "cache-control": "max-age=300", "content-type": kind}
    return Response(content, headers=headers)
