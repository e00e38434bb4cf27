"""`opagate explain`: a recorded decision, with the rule that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gateway.cli.options import ConfigOption, JsonOption, configuration
from gateway.cli.terminal import emit, out, pairs, plain, revised, sentence, show, styled

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.model import JsonObject
    from gateway.policy.annotations import Annotation


def explain(
    decision_id: Annotated[str, typer.Argument(help="As a refusal names it, and as the journal does.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell a recorded decision: who asked for what, which rule answered, why, and what would make it pass."""
    from gateway.journal import reader

    settings = configuration(config)
    entries = [cast("dict[str, Any]", entry) for entry in reader.find(settings.journal.path, decision_id)]
    if not entries:
        sentence(
            f"there is no decision {decision_id!r} in {settings.journal.path}",
            "see `opagate journal tail` for the latest ones, and --config for another gateway",
        )
        raise typer.Exit(1)
    decision = entries[0]
    rules = _rules(settings)
    reasons = [_reason(item, rules, decision) for item in decision.get("reasons") or ()]
    settled = next((entry for entry in entries[1:] if entry["kind"] in {"settled", "abandoned"}), None)
    if as_json:
        emit({"decision": decision, "reasons": reasons, "settled": settled})
        return
    _show(decision, settled)
    for reason in reasons:
        _show_reason(reason)
    _show_policy(decision, settings)


def _rules(settings: Configuration) -> dict[str, Annotation]:
    """Code → the rule's annotation, from the policy folder as it is now; none if it cannot be read."""
    from gateway.errors import PolicyError
    from gateway.policy import annotations, bundle
    from gateway.policy.policy import shipped

    try:
        files = bundle.sources(settings.policy.path or shipped())
        return {item.code: item for file, text in files.items() for item in annotations.parse(text, file)}
    except PolicyError:
        return {}


def _reason(recorded: Mapping[str, Any], rules: Mapping[str, Annotation], decision: JsonObject) -> dict[str, Any]:
    from gateway.policy import verdict

    code = str(recorded["code"])
    rule = rules.get(code)
    return {
        "code": code,
        "title": rule.title if rule else verdict.FAILURES.get(code),
        "message": recorded.get("message"),
        "remedy": rule.remedy if rule else None,
        "controls": list(rule.controls) if rule else [],
        "rule": {"file": rule.file, "line": rule.line} if rule else None,
        "facts": {pointer: fact(decision, pointer) for pointer in recorded.get("facts") or ()},
    }


def fact(decision: JsonObject, pointer: str) -> object:
    """What the journal kept of a fact that a reason points at in the policy input; `None` if nothing.

    `pointer` is a JSON pointer (RFC 6901) into the policy input.
    """
    for prefix, place in _KEPT:
        if pointer == prefix or pointer.startswith(f"{prefix}/"):
            return _at(cast("Any", decision), (*place, *_steps(pointer.removeprefix(prefix))))
    return None


_KEPT = (
    ("/resource/properties", ("target",)),
    ("/resource", ("target",)),
    ("/arguments", ("arguments",)),
    ("/subject/properties", ("principal",)),
    ("/subject", ("principal",)),
    ("/context/client", ("client",)),
    ("/context/task", ("task",)),
)
"""Where in the policy input, and where in a `call` entry."""


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _at(value: Any, steps: tuple[str, ...]) -> object:
    for step in steps:
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(step)]
        else:
            return None
    return cast("object", value)


# --- for people --------------------------------------------------------------------------------------


def _show(decision: Mapping[str, Any], settled: Mapping[str, Any] | None) -> None:
    effect = str(decision.get("effect") or "refused")
    out.print(styled(effect, effect.upper()), "", plain(_what(decision)), style="bold")
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
            yield "for", str(principal["user"])
        if principal.get("delegation"):
            yield "through", " → ".join(principal["delegation"])
    client = cast("dict[str, Any]", decision.get("client") or {})
    yield "from", f"{client.get('ip') or 'this machine'}, {_named(client.get('name'))}"
    if "task" in decision:
        yield "task", f"{decision['task']['id']} ({decision['task']['kind']})"
    target = cast("dict[str, Any] | None", decision.get("target"))
    if target:
        yield "target", f"{target['type']} of {target['upstream']}: {target['effect']} on {target['audience']}"
        if target.get("pin"):
            yield "pin", str(target["pin"])
    if "arguments" in decision:
        yield "arguments", json.dumps(decision["arguments"], ensure_ascii=False)
    if decision.get("obligations"):
        yield "obligations", ", ".join(decision["obligations"])
    yield "settled", _outcome(decision, settled)


def _named(name: object) -> str:
    return f"a client that calls itself {name}" if name else "a client without a name"


def _what(decision: Mapping[str, Any]) -> str:
    if "target" in decision:
        return f"{decision.get('action')} {decision['target']['id']}"
    return f"{decision.get('method') or 'a request'} {decision.get('name') or ''}".rstrip()


def _outcome(decision: Mapping[str, Any], settled: Mapping[str, Any] | None) -> str:
    if settled is None:
        return "not yet" if decision.get("effect") == "allow" else "it was not forwarded"
    if settled["kind"] == "abandoned":
        return "unknown: the gateway ended before the answer did"
    status = f", HTTP {settled['status']}" if settled.get("status") else ""
    return f"{settled['outcome']} after {settled['duration_ms']} ms, {settled['bytes']} bytes{status}"


def _show_reason(reason: Mapping[str, Any]) -> None:
    out.print()
    out.print(styled("fail", str(reason["code"])), plain(str(reason["title"] or "")), style="bold")
    rows = pairs()
    rows.add_row("why", plain(str(reason["message"] or "")))
    if reason["remedy"]:
        rows.add_row("remedy", plain(str(reason["remedy"])))
    if reason["rule"]:
        rows.add_row("rule", f"{reason['rule']['file']}:{reason['rule']['line']}")
    if reason["controls"]:
        rows.add_row("controls", ", ".join(reason["controls"]))
    for pointer, value in reason["facts"].items():
        shown = "(the journal does not keep it)" if value is None else json.dumps(value, ensure_ascii=False)
        rows.add_row("fact", plain(f"{pointer} = {shown}"))
    show(rows)


def _show_policy(decision: Mapping[str, Any], settings: Configuration) -> None:
    if "policy" not in decision:
        return
    from gateway.errors import PolicyError
    from gateway.policy import bundle
    from gateway.policy.policy import shipped

    name, then = decision["policy"]["name"], decision["policy"]["revision"]
    out.print()
    out.print(f"policy {revised(name, then)}", style="dim", markup=False)
    if settings.policy.engine.kind != "embedded":
        return
    folder: Path = settings.policy.path or shipped()
    try:
        now = bundle.read(folder, settings.policy.grants).revision
    except PolicyError:
        return
    if now != then:
        out.print(f"{folder} has changed since (now {now}): files and lines are as they are today.", style="yellow")
