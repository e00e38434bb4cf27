"""`opagate policy grants`: grants proposed from the journal, and the use of the present ones."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, JsonOption, chosen_journals, configuration, moment
from gateway.surfaces.cli.terminal import describe_count, emit, note, plain, sentence, show, table, text

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.model.target import Target
    from gateway.model.wire import JsonObject
    from gateway.policy.policy import Policy
    from gateway.surfaces.granting.observed import Sorted
    from gateway.surfaces.granting.proof import Proof
    from gateway.surfaces.granting.sparing import SparingSettings
    from gateway.surfaces.granting.usage import GrantUse

app = typer.Typer(
    help="Grants: propose the least ones from what was observed, and see which are used.", no_args_is_help=True
)
_MISSING: Final = "an upstream that the configuration does not have"
_PATIENCE: Final = 10.0
"""Seconds that the embedded engine may take here: no caller waits."""


@app.command("propose", epilog="Example: opagate policy grants propose --since 7d --write grants.yaml")
def propose(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="The first call that counts: RFC 3339, a date, or 7d (ago).")
    ] = "7d",
    agent: Annotated[str | None, typer.Option(metavar="ID", help="Only calls of this agent.")] = None,
    upstream: Annotated[str | None, typer.Option(metavar="NAME", help="Only calls of this upstream.")] = None,
    unasked: Annotated[
        bool, typer.Option("--unasked", help="Grant without approval what only observe mode let pass.")
    ] = False,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the grants to a new file.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose the least grants that cover the forwarded calls of the journal.

    Arguments are narrowed where their values show a pattern. That needs `journal.arguments: full`.

    A grant keeps the `approval: true` that covered its calls. `--unasked` keeps it only for calls that a person approved.

    The proposal is proved: the policy decides each call again with these grants alone.

    The proposal begins with lines of gateway.yaml, if limits or directory entries spare questions that grants do not.

    Standard error counts what is left out: calls that other rules refuse, and chains of credentials.

    Exit status 1 if there is nothing to propose.
    """
    from gateway.surfaces.granting.proposal import write_yaml

    if write is not None and (write.exists() or write.is_symlink()):
        raise typer.BadParameter(f"{write} exists; name a new file")
    settings, now = configuration(config), time.time()
    observed = _read(settings, moment(since, now=now), agent, upstream, unasked=unasked)
    proof = _prove(settings, observed)
    if as_json:
        emit(_as_json(proof, observed))
    else:
        written = write_yaml(proof.grants, tuple(_headings(proof, observed)))
        if write is None:
            text(written)
        elif proof.grants:
            _write_new(write, written)
            note(f"wrote {describe_count(len(proof.grants), 'grant')} to {write}")
        for remark in _remarks(proof, observed):
            note(remark)
    if not proof.grants:
        sentence("no forwarded call is left to grant", "see --since, and docs/policy/observing.md")
        raise typer.Exit(1)


@app.command("list", epilog="Example: opagate policy grants list --since 90d")
def list_grants(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="The first call that counts: RFC 3339, a date, or 30d (ago).")
    ] = "30d",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the grants, each with its owner, its end, and its last use by a call of the journal.

    A grant that no call rests on is marked `never`. Calls that observe mode let pass rest on none.
    """
    settings, now = configuration(config), time.time()
    uses = _find_uses(settings, moment(since, now=now))
    if as_json:
        emit([{**use._asdict(), "is_over": _is_over(use.grant, now)} for use in uses])
        return
    if not uses:
        note("there are no grants; see docs/policy/grants.md")
        return
    listed = table("upstream", "id", "owner", "until", "calls", "last used")
    for use in uses:
        grant = use.grant
        end = f"{grant.get('until', '-')}{' (over)' if _is_over(grant, now) else ''}"
        cells = use.upstream, str(grant.get("id")), str(grant.get("owner", "-")), end, str(use.calls)
        listed.add_row(*map(plain, cells), plain(use.last or "never"))
    show(listed)


def _write_new(path: Path, written: str) -> None:
    """Write a new file for this account alone: the grants repeat values of the journal. Raise `ConfigurationError`."""
    from gateway.model.errors import ConfigurationError

    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(written)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", "name another file") from None


def _is_over(grant: Mapping[str, Any], now: float) -> bool:
    from gateway.surfaces.cli.policy_checks import is_over

    until = grant.get("until")
    return isinstance(until, str) and is_over(until, now)


def _find_uses(settings: Configuration, since: float) -> list[GrantUse]:
    """Return the use of the grants in force since a time. Raises `GatewayError`."""
    from gateway.policy.folder import folders
    from gateway.policy.folder.folders import PolicyFolders
    from gateway.record.journal.chain import timestamp
    from gateway.record.journal.several import merge_entries
    from gateway.surfaces.cli.policy_checks import read_grants
    from gateway.surfaces.granting.usage import find_uses

    begin = timestamp(since)
    grants = read_grants(folders.read_policy(PolicyFolders.configured(settings.policy)).data)
    entries = (entry for _, entry in merge_entries(chosen_journals(settings)) if str(entry["time"]) >= begin)

    async def find() -> list[GrantUse]:
        async with AsyncExitStack() as stack:
            policy = await _open_policy(settings, stack, settings.policy.grants)
            return await find_uses(grants, entries, policy)

    return loop.run(find())


async def _open_policy(settings: Configuration, stack: AsyncExitStack, grants: Path | None) -> Policy:
    """Start the policy with a file of grants in the embedded engine; the stack ends it."""
    from datetime import timedelta

    from gateway.config.policy import EmbeddedEngine
    from gateway.surfaces.cli.replay import start_policy

    engine = EmbeddedEngine(deadline=timedelta(seconds=_PATIENCE))
    return await start_policy(stack, settings.policy.model_copy(update={"engine": engine, "grants": grants}))


# --- the calls ---------------------------------------------------------------------------------------


def _read(settings: Configuration, since: float, agent: str | None, upstream: str | None, *, unasked: bool) -> Sorted:
    """Return the calls of the journal, with the labels of today. Raises `JournalError`."""
    from gateway.record.journal.chain import timestamp
    from gateway.record.journal.several import merge_entries
    from gateway.surfaces.granting.observed import sort_calls

    missing = Counter[str]()
    recorded = (entry for _, entry in merge_entries(chosen_journals(settings)))
    entries = _relabel(settings, recorded, missing)
    found = sort_calls(entries, timestamp(since), agent=agent, upstream=upstream, unasked=unasked)
    found.left_out.update(missing)
    return found


def _relabel(settings: Configuration, entries: Iterable[JsonObject], missing: Counter[str]) -> Iterator[JsonObject]:
    """Yield the calls with the labels of today, without calls of upstreams that are gone. These are counted in `missing`."""
    from gateway.inspection.label_cases import labelled_for_call
    from gateway.record.journal.entry import target_form
    from gateway.record.journal.redaction import conceal_text
    from gateway.surfaces.cli.can import find_target

    known: dict[tuple[str, str, str], Target] = {}
    for entry in entries:
        if entry["kind"] != "call":
            continue
        fields = cast("dict[str, Any]", entry)
        recorded, upstream = fields["target"], fields["target"]["upstream"]
        if upstream not in settings.upstreams:
            missing[_MISSING] += 1
            continue
        named = upstream, recorded["type"], recorded["id"].removeprefix(f"{upstream}/")
        if named not in known:
            known[named] = find_target(settings, upstream, named[2], named[1])
        target = labelled_for_call(known[named], fields["arguments"].get("value", {}))
        yield {**entry, "target": {**target_form(target, conceal_text), "id": recorded["id"], "pin": recorded["pin"]}}


def _prove(settings: Configuration, observed: Sorted) -> Proof:
    from gateway.surfaces.granting.proof import RecordedTasks, build_inputs, prove
    from gateway.surfaces.replay.engine import inspector_of

    tasks = RecordedTasks(chosen_journals(settings), (entry for _, entry in observed.calls))
    asked = list(build_inputs(observed.calls, tasks, inspector_of(settings)))
    return loop.run(prove(asked, partial(_open_policy, settings)))


# --- the answer --------------------------------------------------------------------------------------


def _headings(proof: Proof, observed: Sorted) -> Iterator[str]:
    times = sorted(call.time for call, _ in observed.calls)
    if times:
        yield f"Proposed from {describe_count(len(proof.covered), 'call')}, from {times[0]} to {times[-1]}."
    settings = _find_settings(proof)
    if settings.calls:
        yield f"These lines of gateway.yaml spare {describe_count(settings.calls, 'question')} that no grant spares. Take what you trust:"
        yield from (f"  {line}" for line in settings.lines())
        yield from (f"  {json.dumps(entry)} is first in the call {call}" for entry, call in settings.entries.items())


def _find_settings(proof: Proof) -> SparingSettings:
    """Return the settings beyond grants that spare questions about the covered calls."""
    from gateway.surfaces.granting.sparing import merge_spared

    return merge_spared((found.call.id, found.spared) for found in proof.covered if found.spared is not None)


def _remarks(proof: Proof, observed: Sorted) -> Iterator[str]:
    asked = [found for found in proof.covered if found.effect == "ask"]
    passed = len(proof.covered) - len(asked)
    yield f"of {describe_count(len(observed.calls), 'forwarded call')}, {passed} pass with these grants alone"
    for code, count in Counter(found.codes[0] for found in asked).most_common():
        yield f"{describe_count(count, 'call')} would be put to a person: {code}"
    if spared := _find_settings(proof).calls:
        yield f"lines of gateway.yaml spare {describe_count(spared, 'question')} of these; the proposal begins with the lines"
    for code, count in Counter(found.codes[0] for found in proof.refused).most_common():
        yield f"{describe_count(count, 'call')} left out, since another rule would refuse them: {code}"
    for reason, count in sorted(observed.left_out.items()):
        yield f"{describe_count(count, 'call')} left out: {reason}"
    if proof.unclear:
        yield f"{describe_count(proof.unclear, 'call')} left out: the journal has not all that policy saw"
    if unknown := sum(call.values is None for call, _ in observed.calls):
        yield (
            f"the values of {describe_count(unknown, 'call')} are not recorded, so arguments are narrowed by their names alone;"
            " set journal.arguments: full"
        )


def _as_json(proof: Proof, observed: Sorted) -> dict[str, Any]:
    upstreams: dict[str, list[dict[str, Any]]] = {}
    for grant in proof.grants:
        covers = {"calls": grant.calls, "last": grant.last, "wider": list(grant.wider)}
        upstreams.setdefault(grant.upstream, []).append({"grant": dict(grant.fields), **covers})
    asked = Counter(found.codes[0] for found in proof.covered if found.effect == "ask")
    settings = _find_settings(proof)
    return {
        "upstreams": upstreams,
        "passed": len(proof.covered) - asked.total(),
        "asked": dict(asked),
        "settings": {"calls": settings.calls, "limits": settings.limits, "entries": settings.entries},
        "refused": dict(Counter(found.codes[0] for found in proof.refused)),
        "left_out": observed.left_out,
        "unclear": proof.unclear,
    }
