"""`opagate journal explain`: a recorded decision with its rules, the earlier calls behind the facts of these rules, and the near grants."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from gateway.model.caller import describe_person
from gateway.model.errors import JournalError
from gateway.policy import grants as grant_fits
from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, JournalOption, JsonOption, chosen_journals, configuration
from gateway.surfaces.cli.terminal import (
    describe_count,
    describe_revision,
    emit,
    note,
    out,
    paint,
    pairs,
    plain,
    say,
    sentence,
    show,
)
from gateway.surfaces.explain import grants

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.history.provenance import Cause, Explanation
    from gateway.model.wire import JsonObject
    from gateway.policy.grants import Fit, GrantPart, Places
    from gateway.record.journal.several import NamedEntry, NamedJournal
    from gateway.surfaces.explain.recorded import Facts, RecordedDecision


_CAUSES: Final = 20
"""Of the calls that made a fact, so many are shown."""


def explain(
    decision_id: Annotated[str, typer.Argument(metavar="DECISION_ID", help="The id in the refusal or in the journal.")],
    policy_input: Annotated[
        bool, typer.Option("--input", help="Print the policy input of the decision, for `opagate policy eval`.")
    ] = False,
    folders: JournalOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain a recorded decision: the caller, the rules that answered, their facts, and the earlier calls behind the facts.

    For a call, also name the grants that hold or come nearest, as today's policy judges them.

    Conditions on arguments need `journal.arguments: full`.
    """
    from gateway.surfaces.explain.recorded import read_decision
    from gateway.surfaces.explain.window import JournalFiles

    settings = configuration(config)
    journals = chosen_journals(settings, folders)
    files = JournalFiles(journals)
    if (named := files.decision(decision_id)) is None:
        sentence(
            f"there is no decision {decision_id!r} in {', '.join(str(each.folder) for each in journals)}",
            "see `opagate journal tail` for the latest ones, and `journal.peers` for the journals of other gateways",
        )
        raise typer.Exit(1)
    _note_journals(settings, journals, named)
    try:
        found = read_decision(named.entry, files)
        if policy_input:
            _print_input(settings, found)
        else:
            _tell(settings, found, as_json=as_json)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Without the journal's key nothing has shown that the entry is as it was written.
        raise JournalError(f"the entry of {decision_id} is damaged: {error}", "run `opagate journal verify`") from error


def _note_journals(settings: Configuration, journals: Sequence[NamedJournal], named: NamedEntry) -> None:
    """Name the gateway of the decision, the read journals, and the unchecked ones among them."""
    if len(journals) > 1:
        note(f"decided at {named.gateway}; read: {', '.join(each.name for each in journals)}")
    elif settings.store is not None:
        note(
            "read: the journal of this gateway alone; `journal.peers` names those of the other gateways of its database"
        )
    if unchecked := [each.name for each in journals if each.keys is None]:
        note(f"read without a key, so not checked: {', '.join(unchecked)}")


def _tell(settings: Configuration, found: RecordedDecision, *, as_json: bool) -> None:
    from gateway.surfaces.explain import grants as known_grants
    from gateway.surfaces.explain.recorded import describe_reason, facts_of, rules_of

    decision, settled, explanation = cast("dict[str, Any]", found.describe()), found.settled, found.explanation
    facts, rules = facts_of(decision, explanation, found.counted), rules_of(settings)
    reasons = [describe_reason(item, rules, facts) for item in decision.get("reasons") or ()]
    where = known_grants.places(settings.policy)
    fits = None if explanation is None else _find_fits(settings, decision, explanation)
    if as_json:
        missing = None if explanation is None else explanation.missing
        grants = None if fits is None else known_grants.as_json(fits, where)
        emit({"decision": decision, "reasons": reasons, "settled": settled, "missing": missing, "grants": grants})
        return
    _show(decision, settled)
    for reason in reasons:
        _show_reason(reason, facts)
    if explanation is not None:
        show_grants(fits, where, decision["target"]["id"])
    if explanation is not None and explanation.missing:
        out.print()
        out.print(
            f"Earlier calls of the task that are not in this journal: {explanation.missing}. They may have added.",
            style="yellow",
        )
    _show_policy(decision, settings)


def _print_input(settings: Configuration, found: RecordedDecision) -> None:
    from gateway.surfaces.replay.engine import inspector_of
    from gateway.surfaces.replay.rebuilt import rebuild_input

    if found.explanation is None:
        sentence("policy was not asked about this request, so there is no input", "see the reasons without --input")
        raise typer.Exit(1)
    rebuilt = rebuild_input(found.entry, found.explanation, inspector_of(settings), found.approval)
    for remark in rebuilt.missing:
        note(remark)
    emit(rebuilt.document)


# --- for people --------------------------------------------------------------------------------------


def _show(decision: Mapping[str, Any], settled: Mapping[str, Any] | None) -> None:
    effect = str(decision.get("effect") or "refused")
    say(paint(effect, effect.upper()), "  ", _what(decision), style="bold")
    rows = pairs()
    for name, value in _facts(decision, settled):
        rows.add_row(name, plain(value))
    show(rows)


def _facts(decision: Mapping[str, Any], settled: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    yield "decision", str(decision["id"])
    yield "when", str(decision["time"])
    principal = cast("dict[str, Any] | None", decision.get("principal"))
    if principal:
        yield "who", f"{principal['id']} (issuer {principal['issuer']}, {principal['method']})"
        if principal.get("user"):
            yield "for", describe_person(str(principal["user"]), principal.get("known_as"))
        if principal.get("delegation"):
            yield "through", " → ".join(principal["delegation"])
    client = cast("dict[str, Any]", decision.get("client") or {})
    yield "from", f"{client.get('ip') or 'this machine'}, {_name(client.get('name'))}"
    if "task" in decision:
        yield "task", task(decision)
    target = cast("dict[str, Any] | None", decision.get("target"))
    if target:
        yield "target", f"{target['type']} of {target['upstream']}: {target['effect']} on {target['audience']}"
        if target.get("pin"):
            yield "pin", str(target["pin"])
    yield from ((heading, sent(decision[name])) for name, heading in _SENT if name in decision)
    yield from _people(decision)
    yield from _signals(decision)
    yield from _verdict(decision)
    yield from _end(decision, settled)
    yield from _shadow(decision)
    if count := decision.get("reserved"):
        yield "answer", f"{describe_count(count, 'name')} or error codes that only the gateway uses taken out"


def _verdict(decision: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the declared facts behind a decision, its obligations, and the verdict that observe mode did not enforce."""
    from gateway.surfaces.explain.recorded import describe_unenforced, list_declared

    if declared := list_declared(decision):
        yield "facts", ", ".join(f"{name} {value}" for name, value in declared)
    if decision.get("obligations"):
        yield "obligations", ", ".join(decision["obligations"])
    if (unenforced := describe_unenforced(decision)) is not None:
        yield "observed", unenforced


_SENT: Final = (("arguments", "arguments"), ("beside", "beside them"))
"""The fields of an entry with the words of the caller, and their names for people."""


def _end(decision: Mapping[str, Any], settled: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    from gateway.surfaces.explain.recorded import say_confirmed

    yield "settled", outcome(decision, settled)
    if "confirmed" in decision:
        yield "in fact", say_confirmed(decision["confirmed"])


def _shadow(decision: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the other decision of the shadow policy."""
    if shadow := decision.get("shadow"):
        codes = f" ({', '.join(shadow['codes'])})" if shadow["codes"] else ""
        yield "shadow", f"revision {shadow['policy']['revision']} would {shadow['effect']}{codes}"


def _people(decision: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the approvers of a call, or of its values in an earlier task."""
    approved, endorsed = decision.get("approved"), decision.get("endorsement")
    if approved is not None:
        yield "approved by", f"{_names(approved)}, at {approved['granted']}, for {' and '.join(approved['scopes'])}"
        yield "answers", f"{', '.join(approved['answers'])}, in the question {approved['id']}"
    elif "approval" in decision:
        yield "approved", f"in the question {decision['approval']}, whose entries are not in this journal"
    if endorsed is not None:
        yield "endorsed by", f"{_names(endorsed)}, at {endorsed['granted']}, for tasks of the kind {endorsed['kind']}"
        yield "values", f"{', '.join(endorsed['facts'])}, in the endorsement {endorsed['id']}"


def _signals(decision: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the open facts about the caller from identity providers."""
    from gateway.record.journal.chain import timestamp

    for fact in decision.get("signals", ()):
        yield "signal", f"{fact['type']} {fact.get('level', '')}".strip() + f", of {timestamp(fact['at'])}"


def _names(fact: Mapping[str, Any]) -> str:
    return " and ".join(f"{one['id']} ({one['issuer']}, {one['assurance']})" for one in fact["approvers"])


def task(decision: Mapping[str, Any]) -> str:
    """Return the task, with the earlier tasks of known readings."""
    history = cast("Mapping[str, list[str]]", decision.get("history") or {})
    carried = history.get("carried")
    more = f", and all that {' and '.join(carried)} had read" if carried else ""
    return f"{decision['task']['id']} ({decision['task']['kind']}){more}"


def sent(recorded: Mapping[str, Any]) -> str:
    """Return the arguments of a call, for people, as far as the journal keeps them."""
    if recorded["mode"] == "none":
        return "the journal keeps nothing of them"
    if "value" in recorded:
        return json.dumps(recorded["value"], ensure_ascii=False)
    names = ", ".join(recorded["names"])
    return f"{names}; the journal keeps a digest of {recorded['bytes']} bytes" if names else "none"


def _name(name: object) -> str:
    return f"a client that calls itself {name}" if name else "a client without a name"


def _what(decision: Mapping[str, Any]) -> str:
    if "target" in decision:
        return f"{decision.get('action')} {decision['target']['id']}"
    return f"{decision.get('method') or 'a request'} {decision.get('name') or ''}".rstrip()


def outcome(decision: Mapping[str, Any], settled: Mapping[str, Any] | None) -> str:
    """Return how a call ended, for people."""
    from gateway.record.journal.entry import LOST

    if settled is None:
        return "not yet" if decision.get("effect") == "allow" else "it was not forwarded"
    if settled["kind"] == "abandoned":
        return "unknown: the gateway ended before the answer did, so the call may have done anything"
    status = f", HTTP {settled['status']}" if settled.get("status") else ""
    shown = f"{settled['outcome']} after {settled['duration_ms']} ms, {settled['bytes']} bytes{status}"
    if "lost" in settled:
        shown += f"; {LOST[settled['lost']]}"
    if "withheld" in settled:
        shown += f"; withheld from the caller ({settled['withheld']})"
    if "put_back" in settled:
        shown += f"; {describe_count(settled['put_back'], 'handle')} put back"
    return (
        shown
        if "concealed" not in settled
        else f"{shown}; {describe_count(settled['concealed'], 'credential')} concealed"
    )


def _show_reason(reason: Mapping[str, Any], facts: Facts) -> None:
    from gateway.surfaces.explain.recorded import rows as reason_rows

    out.print()
    say(paint("fail", str(reason["code"])), " ", str(reason["title"] or ""), style="bold")
    rows = pairs()
    for label, text in reason_rows(reason):
        rows.add_row(label, plain(text))
    for pointer in reason["facts"]:
        rows.add_row("fact", plain(f"{pointer} = {facts.words(pointer)}"))
        for label, text in _write_causes(facts.causes(pointer), str(facts.known["id"])):
            rows.add_row(label, plain(text))
    show(rows)


def _write_causes(causes: tuple[Cause, ...], own: str) -> Iterator[tuple[str, str]]:
    """Yield the calls behind a fact."""
    for cause in causes[:_CAUSES]:
        call = cause.call
        if call.id == own:
            yield "  this call", cause.how
        else:
            kind = "reading" if call.reading else "call"
            where = f" in {call.task}" if call.task else ""
            where += f" by the agent {call.agent}" if call.agent else ""
            yield f"  {kind} {call.number}", f"{call.target} {cause.how}{where}, {call.time} [{call.id}]"
    if len(causes) > _CAUSES:
        yield "", f"and {len(causes) - _CAUSES} more, which --json tells"


def _show_policy(decision: Mapping[str, Any], settings: Configuration) -> None:
    if "policy" not in decision:
        return
    from gateway.model.errors import PolicyError
    from gateway.policy.folder import folders
    from gateway.policy.folder.folders import PolicyFolders

    name, then = decision["policy"]["name"], decision["policy"]["revision"]
    out.print()
    out.print(f"policy {describe_revision(name, then)}", style="dim", markup=False)
    if settings.policy.engine.kind != "embedded":
        return
    places = PolicyFolders.configured(settings.policy)
    try:
        now = folders.read_policy(places).revision
    except PolicyError:
        return
    if now != then:
        out.print(
            f"{places.overlay or places.policy} has changed since (now {now}): files and lines are as they are today.",
            style="yellow",
        )


_LONGEST: Final = 200
"""Characters of one value that are shown."""


def show_grants(fits: Sequence[Fit] | None, where: Places, target: str) -> None:
    """Print the grants from `choose_grants` for a call to `target`; `None` if nothing is known."""
    out.print()
    if fits is None:
        out.print("Neither the policy nor the record tells which grants are near.", style="yellow")
        return
    if not fits:
        say(f"No grant is for the upstream of {target}, and none for all upstreams.", style="bold")
        return
    if not any(fit.names_target for fit in fits):
        say(f"No grant names {target}. The nearest:", style="bold")
    for fit in fits:
        _show_grant(fit, where)


def _show_grant(fit: Fit, where: Places) -> None:
    word = "holds" if fit.holds else "does not hold" if fit.failed else "holds if its conditions do"
    style = "ok" if fit.holds else "refused" if fit.failed else "warn"
    name = fit.id or f"grant {fit.index + 1} of {fit.upstream}"
    out.print(paint(style, "grant"), plain(name), paint(style, word), style="bold")
    rows = pairs()
    rows.add_row(
        "place", plain(grants.describe_place(fit, where) or f"in OPA: upstream {fit.upstream}, grant {fit.index + 1}")
    )
    for label, text in _write_parts(fit, where):
        rows.add_row(label, plain(text))
    show(rows)


def _write_parts(fit: Fit, where: Places) -> Iterator[tuple[str, str]]:
    if fit.asks:
        yield "approval", "each call needs an approval"
    place = grants.find_place(fit, where)
    for part in fit.failed:
        at = "" if place is None else f"  ({place.of(part.name)})"
        yield part.name, part.problem or f"{_describe_wanted(part)}; the call has {_call_has(part)}{at}"
    for part in fit.open:
        yield part.name, f"{_describe_wanted(part)}; the arguments are not known here"


def _describe_wanted(part: GrantPart) -> str:
    wanted: object = part.wanted
    if part.pointer and isinstance(wanted, Mapping):
        tests = cast("Mapping[str, object]", wanted)
        return ", ".join(f"{test} {_short(value)}" for test, value in tests.items())
    return f"wanted {_short(part.wanted)}"


def _call_has(part: GrantPart) -> str:
    if not part.pointer:
        return _short(part.found)
    if part.found is None:
        return "a value that the journal does not keep"
    return "no such argument" if part.found == grant_fits.MISSING else _short(part.found[0])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _find_fits(settings: Configuration, decision: JsonObject, explanation: Explanation) -> tuple[Fit, ...] | None:
    """Return the holding or nearest grants; `None` if policy or record does not tell."""
    from gateway.model.errors import JournalError, PolicyError
    from gateway.surfaces.explain import grants
    from gateway.surfaces.replay.engine import inspector_of
    from gateway.surfaces.replay.rebuilt import rebuild_input

    try:
        asked = rebuild_input(decision, explanation, inspector_of(settings)).document
        found = loop.run(_ask_policy(settings, asked))
    except (JournalError, PolicyError):
        return None
    return None if found is None else grants.choose_recorded(found, decision)


async def _ask_policy(settings: Configuration, asked: JsonObject) -> tuple[Fit, ...] | None:
    from gateway.policy.policy import Policy

    policy = Policy.build(settings.policy, supported=frozenset(), clock=time.time, is_for_calls=False)
    await policy.start()
    try:
        return await policy.fits(asked)
    finally:
        await policy.stop()
