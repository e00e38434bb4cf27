"""Configuration of the demo servers as upstreams, with all their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from gateway.config import ToolLabels, Upstream
from gateway.config.authority import GatewayCredential
from gateway.config.settings import NoCredential
from gateway.model.target import Effect, Role, Sensitivity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FILES: Final = {
    "list_files": ToolLabels(
        effect=Effect.READ, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/folder": Role.SELECTOR}
    ),
    "read_file": ToolLabels(
        effect=Effect.READ, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/path": Role.SELECTOR}
    ),
    "write_file": ToolLabels(
        effect=Effect.WRITE,
        egress=False,
        sensitivity=Sensitivity.INTERNAL,
        roles={"/path": Role.SELECTOR, "/content": Role.CONTENT},
    ),
    "delete_file": ToolLabels(
        effect=Effect.DESTRUCTIVE, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/path": Role.SELECTOR}
    ),
}
_TICKETS: Final = {
    "*_ticket": ToolLabels(sensitivity=Sensitivity.INTERNAL, roles={"/ticket": Role.SELECTOR}),
    "search_tickets": ToolLabels(
        effect=Effect.READ, egress=False, sensitivity=Sensitivity.INTERNAL, roles={"/query": Role.SELECTOR}
    ),
    "read_ticket": ToolLabels(effect=Effect.READ, egress=False),
    "comment_ticket": ToolLabels(effect=Effect.WRITE, egress=True, roles={"/comment": Role.CONTENT}),
    "close_ticket": ToolLabels(effect=Effect.DESTRUCTIVE, egress=True, roles={"/resolution": Role.CONTENT}),
    "export_customers": ToolLabels(effect=Effect.READ, egress=False, sensitivity=Sensitivity.RESTRICTED),
}
_MAIL: Final = {
    "*": ToolLabels(sensitivity=Sensitivity.CONFIDENTIAL),
    "list_messages": ToolLabels(effect=Effect.READ, egress=False, roles={"/folder": Role.SELECTOR}),
    "read_message": ToolLabels(effect=Effect.READ, egress=False, roles={"/message": Role.SELECTOR}),
    "send_message": ToolLabels(
        # What it answers is a receipt.
        sensitivity=Sensitivity.INTERNAL,
        effect=Effect.WRITE,
        egress=True,
        roles={
            "/to": Role.DESTINATION,
            "/cc": Role.DESTINATION,
            "/subject": Role.CONTENT,
            "/body": Role.CONTENT,
        },
    ),
}
NAMES: Final = ("files", "tickets", "mail")


def audience_of(name: str) -> str:
    """Return the audience of a demo server."""
    return f"{name}.example.com"


def upstreams(urls: Mapping[str, str], *, verified: bool = False, of_task: Collection[str] = ()) -> dict[str, Upstream]:
    """Return the settings of the demo upstreams. `urls` maps each name to its MCP endpoint.

    Customers write tickets, so these are untrusted, as mail is. The files are the company's own. With `verified`, each
    call carries a token of this gateway; for the names in `of_task` a token of the task.
    """
    labels = {"files": _FILES, "tickets": _TICKETS, "mail": _MAIL}
    return {
        name: Upstream(
            url=urls[name],
            audience=audience_of(name),
            trust="trusted" if name == "files" else "untrusted",
            tenant="example",
            environment="demo",
            tools=labels[name],
            credential=_credential(name, "task" if name in of_task else "call") if verified else NoCredential(),
        )
        for name in NAMES
    }


def _credential(name: str, bind: Literal["call", "task"]) -> GatewayCredential:
    scopes = {effect: (f"{name}:{effect.value}",) for effect in (Effect.READ, Effect.WRITE, Effect.DESTRUCTIVE)}
    return GatewayCredential(kind="gateway", bind=bind, scopes=scopes)
