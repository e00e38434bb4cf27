"""`opagate policy can`: the decision on an imagined call, and its reasons."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import typer

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.approvers import describe_obligations
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, moment
from gateway.surfaces.cli.terminal import describe_revision, emit, note, out, paint, pairs, plain, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Configuration
    from gateway.model.call import ActionName, Call
    from gateway.model.caller import Principal
    from gateway.model.decision import Decision
    from gateway.model.target import Target
    from gateway.model.wire import JsonObject
    from gateway.policy.facts import FactBook
    from gateway.policy.grants import Fit

_ACTIONS: Final[dict[str, ActionName]] = {"tool": "tools/call", "resource": "resources/read", "prompt": "prompts/get"}
_PATIENCE: Final = 10.0
"""Seconds that the embedded engine may take here: no caller waits, and the machine may be busy."""


def can(
    caller: Annotated[str, typer.Argument(metavar="AGENT", help="The agent that would call.")],
    target: Annotated[str, typer.Argument(metavar="UPSTREAM/NAME", help="The tool, resource or prompt.")],
    arguments: Annotated[
        str, typer.Argument(metavar="ARGUMENTS", help="The arguments as a JSON object; - for standard input.")
    ] = "{}",
    kind: Annotated[
        Literal["tool", "resource", "prompt"], typer.Option("--kind", help="The sort of the target.")
    ] = "tool",
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="The time of the call: RFC 3339, a date, or 2h (ago).")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The person on whose behalf it acts.")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A group of that person. Repeatable.")] = None,
    scope: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A scope. Repeatable.")] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="The issuer of the caller, if several identities fit.")
    ] = None,
    bound: Annotated[bool, typer.Option("--bound", help="Its token is bound to a key or a certificate.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the decision that a call would get, and why: the reasons, the grants that hold, and the missing parts.

    The call counts as the first of an undeclared task.

    The command starts no gateway, asks no upstream, and needs no secrets of upstreams.

    Exit status 1 if policy does not allow the call, also where observe mode lets it pass.
    """
    from gateway.surfaces.cli.caller import CallerNames, find_principal

    if group and not user:
        raise typer.BadParameter("a group is that of a user; add --user")
    now = time.time()
    when = now if at is None else moment(at, now=now)
    settings = configuration(config)
    named = CallerNames(caller, issuer, user, group or (), scope or (), bound)
    principal = find_principal(settings, named)
    call = _call(settings, target, kind, _object(arguments))
    asked, decision, fits = loop.run(_decide(settings, principal, call, when))
    _tell(settings, asked, call, decision, fits, as_json=as_json)
    if not decision.allowed:
        raise typer.Exit(1)


# --- the call ----------------------------------------------------------------------------------------


def _object(text: str) -> JsonObject:
    from gateway.base.json import strict

    data = sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogatepass")
    found = strict.read_part(data)
    if isinstance(found, strict.UnreadableJson):
        problem = found.message.replace("the body is an array, and batches are not accepted", "the body is no object")
        problem = (
            problem.replace("the body", "the arguments")
            .replace("arguments is", "arguments are")
            .replace("arguments has", "arguments have")
        )
        raise typer.BadParameter(f'{problem}; write them like \'{{"path": "a"}}\'')
    return found


def _call(
    settings: Configuration, named: str, kind: Literal["tool", "resource", "prompt"], arguments: JsonObject
) -> Call:
    from gateway.inspection.label_cases import labelled_for_call
    from gateway.model.call import Call

    upstream, slash, name = named.partition("/")
    if not slash or not name:
        raise typer.BadParameter(f"{named!r} names no target; write UPSTREAM/NAME, such as files/read_file")
    if upstream not in settings.upstreams:
        known = ", ".join(settings.upstreams) or "there are none"
        raise typer.BadParameter(f"there is no upstream {upstream!r} in the configuration ({known})")
    if kind == "resource":
        arguments = {"uri": name}
    return Call(_ACTIONS[kind], labelled_for_call(find_target(settings, upstream, name, kind), arguments), arguments)


def find_target(
    settings: Configuration, upstream: str, name: str, kind: Literal["tool", "resource", "prompt"]
) -> Target:
    """Return the target with its labels. Its definition counts as unchanged since the pin."""
    import difflib

    from gateway.model.target import Pin, Target
    from gateway.upstreams.catalogue import lockfile
    from gateway.upstreams.catalogue.definitions import target_of
    from gateway.upstreams.catalogue.labels import labels_of_resource

    configured = settings.upstreams[upstream]
    if kind == "resource":
        place = (configured.audience, configured.tenant, configured.environment, configured.trust)
        labels = labels_of_resource(name, configured.resources, configured.tools)
        return Target(
            "resource",
            upstream,
            name,
            *place,
            labels=labels,
            aggregates=configured.aggregates,
            is_agent=configured.agent,
            credential=settings.credential_of(upstream),
        )
    pinned = lockfile.load(settings.catalogue.lock).of(upstream, kind)
    known = pinned.get(name)
    without = Pin.UNPINNED if settings.catalogue.trust == "first_use" else Pin.UNREVIEWED
    if known is None:
        near = difflib.get_close_matches(name, pinned, n=1, cutoff=0.5)
        note(f"{settings.catalogue.lock} pins no {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    definition = None if known is None else known.definition
    pin = without if known is None else Pin.MATCH
    return target_of(
        upstream, configured, kind, name, pin=pin, definition=definition, credential=settings.credential_of(upstream)
    )


def _question(settings: Configuration, principal: Principal, call: Call, when: float, facts: FactBook) -> JsonObject:
    from gateway.history.events import TaskOpened
    from gateway.history.facts import relevance_of
    from gateway.history.fold import apply
    from gateway.history.state import TaskState
    from gateway.model.task import Task
    from gateway.surfaces.replay.engine import DeclaredHistory, ask, inspector_of

    inspector = inspector_of(settings)
    task, state = Task("asked", "implicit", when), apply(TaskState(), TaskOpened())
    suppressions = inspector.suppressions.of(call.target, when)
    relevant = relevance_of(state, call.target)
    content = inspector.call(
        call, task, state.shingles, suppressions=suppressions, relevance=relevant, caller=principal
    )
    enforced = when >= settings.observed.get(call.target.upstream, 0.0)
    declared = DeclaredHistory.begin(lambda: facts)
    return ask(principal, call, task, content, state, number=1, now=when, enforced=enforced, declared=declared)


async def _decide(
    settings: Configuration, principal: Principal, call: Call, when: float
) -> tuple[JsonObject, Decision, tuple[Fit, ...] | None]:
    """Return the question about a call without a history, its decision, and how far each grant holds."""
    from datetime import timedelta

    from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
    from gateway.calls.pipeline.decide import name_assumed_labels
    from gateway.policy.policy import Policy

    section = settings.policy
    if section.engine.kind == "embedded":
        patient = section.engine.model_copy(update={"deadline": timedelta(seconds=_PATIENCE)})
        section = section.model_copy(update={"engine": patient})
    policy = Policy.build(section, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time, is_for_calls=False)
    await policy.start()
    try:
        asked = _question(settings, principal, call, when, policy.facts)
        decision = name_assumed_labels(await policy.decide(asked), call.target)
        return asked, decision, await policy.fits(asked)
    finally:
        await policy.stop()


# --- the answer --------------------------------------------------------------------------------------


def _tell(
    settings: Configuration,
    asked: JsonObject,
    call: Call,
    decision: Decision,
    fits: tuple[Fit, ...] | None,
    *,
    as_json: bool,
) -> None:
    from gateway.surfaces.cli.explain import show_grants
    from gateway.surfaces.explain import grants as known_grants
    from gateway.surfaces.explain.recorded import describe_for_programs, rules_of, value_at

    where = known_grants.places(settings.policy)
    chosen = None if fits is None else known_grants.choose_grants(fits)
    rules = rules_of(settings)
    reasons = [
        {
            **describe_for_programs(
                reason.code, reason.message, rules, {fact: value_at(asked, fact) for fact in reason.facts}
            ),
            "remedy": reason.remedy,
        }
        for reason in decision.reasons
    ]
    observed = _describe_observing(settings, asked, call, decision)
    if as_json:
        grants = None if chosen is None else known_grants.as_json(chosen, where)
        emit({**_as_json(decision), "observed": observed, "reasons": reasons, "grants": grants, "input": asked})
        return
    out.print(
        paint(decision.effect, decision.effect.upper()), "", plain(f"{call.action} {call.target.id}"), style="bold"
    )
    rows = pairs()
    for label, text in _facts(asked, call):
        rows.add_row(label, plain(text))
    if observed is not None:
        rows.add_row("observed", plain(observed))
    show(rows)
    for reason in reasons:
        _show_reason(reason)
    show_grants(chosen, where, call.target.id)
    out.print()
    for line in describe_obligations(decision.obligations):
        out.print(plain(line))
    out.print(f"policy {describe_revision(decision.policy.name, decision.policy.revision)}", style="dim", markup=False)


def _describe_observing(settings: Configuration, asked: JsonObject, call: Call, decision: Decision) -> str | None:
    """Return what observe mode makes of the decision; `None` where policy is enforced, or allows."""
    from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
    from gateway.policy.observing import describe_ends, let_pass

    is_enforced = cast("dict[str, Any]", asked)["context"].get("enforced", True)
    if is_enforced or decision.allowed:
        return None
    if let_pass(decision, SUPPORTED_OBLIGATIONS, is_guarded=False).would is None:
        return "this refusal stands in observe mode too"
    upstream = call.target.upstream
    until = describe_ends(settings.observed)[upstream]
    end = "" if until is None else f" until {until}"
    return f"observe mode lets the call pass{end}; then it would be {'refused' if decision.effect == 'deny' else 'asked about'}"


def _as_json(decision: Decision) -> dict[str, Any]:
    return {
        "effect": decision.effect,
        "obligations": [{"id": item.id, "properties": item.properties} for item in decision.obligations],
        "policy": {"name": decision.policy.name, "revision": decision.policy.revision},
    }


def _show_reason(reason: Mapping[str, Any]) -> None:
    from gateway.surfaces.explain.recorded import rows as reason_rows

    out.print()
    out.print(paint("fail", reason["code"]), plain(str(reason["title"] or "")), style="bold")
    rows = pairs()
    for label, text in reason_rows(reason):
        rows.add_row(label, plain(text))
    for pointer, value in reason["facts"].items():
        rows.add_row("fact", plain(f"{pointer} = {json.dumps(value, ensure_ascii=False)}"))
    show(rows)


def _facts(asked: JsonObject, call: Call) -> list[tuple[str, str]]:
    document = cast("dict[str, Any]", asked)
    subject, labels = document["subject"], call.target.labels
    proof = subject["properties"]
    rows = [
        (
            "who",
            f"{subject['id']} (issuer {proof['issuer']}, {proof['auth_method']}{', bound' if proof['bound'] else ''})",
        )
    ]
    if proof["user"]:
        rows.append(("for", ", ".join([proof["user"]["id"], *(f"group {name}" for name in proof["user"]["groups"])])))
    if proof["scopes"]:
        rows.append(("scopes", " ".join(proof["scopes"])))
    rows.append(("when", document["context"]["time"]))
    leaves = "in a sandbox" if labels.in_sandbox else "data leaves" if labels.egress else "data stays"
    said = f"{labels.effect} on {call.target.audience}, {labels.sensitivity}, {leaves}"
    assumed = (
        f"; without a label: {', '.join(sorted(labels.assumed))}"
        if labels.assumed and call.target.type == "tool"
        else ""
    )
    rows.append(("target", said + assumed))
    if call.target.pin is not None:
        rows.append(("pin", str(call.target.pin)))
    rows.append(("arguments", json.dumps(call.arguments, ensure_ascii=False)))
    return rows
