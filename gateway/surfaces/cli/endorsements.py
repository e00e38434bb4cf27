"""`opagate endorsements`: approved values for later tasks of the same kind."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer

from gateway.surfaces.cli.control_client import AsOption, GatewayOption, complete_id, open_control
from gateway.surfaces.cli.options import ConfigOption, JsonOption
from gateway.surfaces.cli.terminal import describe_count, emit, note, plain, say, show, table

PrincipalOption = Annotated[
    str | None, typer.Option("--principal", metavar="NAME", help="Endorsements of this agent, or for this user.")
]
ToolOption = Annotated[
    str | None, typer.Option("--tool", metavar="TOOL", help="Endorsements for this tool, as in mail/send.")
]
KindOption = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Endorsements for tasks of this kind.")]

app = typer.Typer(help="Approved values that recur in later tasks: list and revoke them.", no_args_is_help=True)

_SHORT: Final = 8
_LONGEST: Final = 200
"""Characters of one value in a list. `--json` has it whole."""


@app.command("list", epilog="Example: opagate endorsements list --kind weekly-report")
def list_endorsements(
    principal: PrincipalOption = None,
    tool: ToolOption = None,
    kind: KindOption = None,
    speaks_as: AsOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the values that later tasks of the same kind may use without a question, the oldest first."""
    with open_control(at, config, speaks_as) as desk:
        every: list[dict[str, Any]] = desk.ask("endorsements/list")["endorsements"]
    found = [one for one in every if _fits(one, principal, tool, kind)]
    if as_json:
        emit(found)
    elif not found:
        note("no approved values recur")
    else:
        _print_endorsements(found)


@app.command("revoke", epilog="Example: opagate endorsements revoke 5f0c1d2e")
def revoke(
    endorsement: Annotated[
        str | None, typer.Argument(metavar="ID", help="The endorsement, or the first characters of its id.")
    ] = None,
    principal: PrincipalOption = None,
    tool: ToolOption = None,
    kind: KindOption = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    speaks_as: AsOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke endorsements: the next call asks again, in open tasks too. Several options select what fits all of them."""
    if not (endorsement or principal or tool or kind or every):
        raise typer.BadParameter("name an id, --principal, --tool or --kind, or give --all")
    with open_control(at, config, speaks_as) as desk:
        named = {"principal": principal, "tool": tool, "kind": kind}
        selection: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if endorsement:
            selection["id"] = complete_id(desk.ask("endorsements/list")["endorsements"], endorsement, "endorsement")
        revoked: list[dict[str, Any]] = desk.ask("endorsements/revoke", **selection, all=every)["endorsements"]
    if as_json:
        emit(revoked)
        return
    _print_endorsements(revoked)
    note(f"{describe_count(len(revoked), 'endorsement')} revoked: the next call with these values asks again")


def _fits(found: dict[str, Any], principal: str | None, tool: str | None, kind: str | None) -> bool:
    is_named = principal is None or principal in {found["agent"], found["user"], found["principal"]}
    return is_named and tool in {None, found["tool"]} and kind in {None, found["kind"]}


def _print_endorsements(found: list[dict[str, Any]]) -> None:
    listed = table("id", "kind", "tool", "agent", "for", "approved by", "expires", "used")
    for one in found:
        persons = ", ".join(person["id"] for person in one["approved_by"])
        cells = (
            one["kind"],
            one["tool"],
            one["agent"],
            one["user"] or "-",
            persons,
            one["expires"],
            one["used"] or "-",
        )
        listed.add_row(one["id"][:_SHORT], *map(plain, cells))
    show(listed)
    for one in found:
        say(f"{one['id'][:_SHORT]}: {_values(one)}")


def _values(found: dict[str, Any]) -> str:
    """Return the bound values of an endorsement in words."""
    if found["values"] is None:
        return f"the values of {', '.join(found['asked'])}, of which the gateway has the digest alone"
    parts = (f"{pointer} = {_value(values)}" for pointer, values in found["values"].items())
    return "; ".join(parts)


def _value(values: list[Any]) -> str:
    text = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
