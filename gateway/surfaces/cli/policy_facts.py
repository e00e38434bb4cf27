"""`opagate policy facts`: the declared facts of a policy, the rules that read them, and present totals of a gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.operating import IssuerOption
from gateway.surfaces.cli.options import ConfigOption, JsonOption, select_given
from gateway.surfaces.cli.policy_options import GrantsOption, OverlayOption, PathOption
from gateway.surfaces.cli.terminal import emit, note, out, plain, show, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.policy.facts import Declaration, Pair
    from gateway.policy.folder.folders import PolicyFolders

_NOT_READ = "no rule"


@dataclass(frozen=True, slots=True)
class _Listed:
    """A declared fact with the files of the rules that read it."""

    declared: Declaration
    readers: tuple[str, ...]


def list_facts(
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Totals of an agent.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Totals of a user.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="TENANT", help="Totals of a tenant.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Totals of the whole gateway.")] = False,
    issuer: IssuerOption = None,
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the declared facts: what each adds up, its keys and window, its room, and the rules that read it.

    With --agent, --user, --tenant or --all, show the present totals of a running gateway.
    """
    from gateway.surfaces.cli.policy import find_folders

    named = select_given(agent=agent, user=user, tenant=tenant)
    if len(named) + every > 1:
        raise typer.BadParameter("give one of --agent, --user, --tenant or --all")
    if named or every:
        _show_totals(ask_gateway(at, config, "facts/totals", **named, **select_given(issuer=issuer)), as_json=as_json)
        return
    found = _read_listed(find_folders(path, grants, overlay, config))
    if as_json:
        emit([_describe(each) for each in found])
    else:
        _show_listed(found)


def _read_listed(places: PolicyFolders) -> list[_Listed]:
    """Return the facts of a policy with their readers. Raise `PolicyBroken`, also for rules that nobody can compile here."""
    from gateway.policy import authoring, facts
    from gateway.policy.folder import folders
    from gateway.policy.opa.program import require_opa
    from gateway.policy.plan import loading

    policy = folders.read_policy(places)
    book = facts.read_facts(policy.decoded_data(), lambda _condition, _arguments, _pointer: False)
    stored, _ = loading.find_plan(policy, places.planned, loading.NO_TRUST)
    if stored is None:
        stored = authoring.compile_rules(policy, require_opa("`opagate policy facts` with own rules"))
    used = authoring.find_input_use(policy, bytes(stored.plan)).facts
    return [_Listed(each, used.get(each.name, ())) for each in book.all]


def _describe(listed: _Listed) -> dict[str, Any]:
    from gateway.history.declared import sizes

    declared, fact = listed.declared, listed.declared.fact
    fields = fact.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {
        "name": declared.name,
        "file": declared.file,
        **fields,
        "within": None if declared.within is None else _write_window(declared.within),
        "keys": fact.keys,
        "read_by": listed.readers,
        "journal_bytes": sizes.journal_bytes(declared),
        "key_bytes": sizes.find_key_bytes(declared),
    }


def _show_listed(found: Sequence[_Listed]) -> None:
    from gateway.history.declared import sizes

    if not found:
        note("the policy declares no facts; docs/policy/facts.md has the way from a sentence to a rule")
    for file in dict.fromkeys(each.declared.file for each in found):
        rows = table("fact", "adds up", "by", "within", "most keys", "bytes a key", "read by", title=file)
        for each in found:
            if each.declared.file == file:
                declared, fact = each.declared, each.declared.fact
                what = f"{declared.aggregate} {getattr(fact, declared.aggregate)}"
                keys, (one, most) = " ".join(map(_write_key, fact.by)), sizes.find_key_bytes(declared)
                window = "the task" if declared.within is None else _write_window(declared.within)
                readers = " ".join(each.readers) or _NOT_READ
                cells = (declared.name, what, keys, window, f"{fact.keys:,}", f"{one:,} to {most:,}", readers)
                rows.add_row(*map(plain, cells))
        show(rows)


def _write_key(key: str | Pair) -> str:
    return key if isinstance(key, str) else f"{key.this}={key.that}"


def _write_window(seconds: float) -> str:
    """Return a window in its largest whole unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds > length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


def _show_totals(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    if not found:
        note("nothing counts at present; facts with the key `task` are in `opagate journal explain ID` alone")
        return
    rows = table("fact", "issuer", "keys", "largest", "")
    for each in found:
        state = "incomplete" if each["is_incomplete"] else ""
        rows.add_row(
            *map(plain, (each["name"], each["issuer"] or "-", f"{each['keys']:,}", str(each["largest"]), state))
        )
    show(rows)
    out.print("A fact with further keys, such as the tool, has a number for each; the largest is shown.", style="dim")
