"""Traces of the corpus, counted by the gateway's fold, and rules, evaluated by OPA."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.temporal.convert import tool_of
from benchmarks.temporal.language import Entity, Event, Unsayable
from gateway.history.events import Passed, Settled
from gateway.history.fold import apply
from gateway.history.state import TaskState
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import CallContent
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.model.wire import JsonObject
from gateway.policy.facts import Holds, read_facts
from gateway.surfaces.replay.engine import DeclaredHistory, ask

_START: Final = 1_700_000_000.0
_JUDGE: Final = """package judge
import rego.v1
results := [verdict |
	some asked in input.asked
	verdict := data.corpus[asked.package].result with input as asked.input
]
"""


def list_inputs(events: Sequence[Event], facts: Mapping[str, Any], holds: Holds) -> Iterator[tuple[float, JsonObject]]:
    """Yield the input of policy for each call of a trace, with its time. Raise `Unsayable`."""
    book = read_facts({"overlay": {"facts": facts}}, holds) if facts else read_facts({}, holds)
    declared = DeclaredHistory.begin(lambda: book)
    state, task = TaskState(), Task("trace", "implicit", _START)
    targets: dict[tuple[str, str], Target] = {}
    open_calls: dict[str, str] = {}
    for number, event in enumerate(events, start=1):
        if event.kind == "request":
            target = targets.setdefault((event.action, event.resource), _make_target(event))
            call = Call("tools/call", target, _plain(event.fields.get("input", {})))
            who, now = Principal(event.principal, "corpus", AuthMethod.JWT), _START + event.at
            yield event.at, ask(who, call, task, CallContent(), state, number=number, now=now, declared=declared)
            apply(state, Passed(str(number)))
            open_calls[str(event.fields.get("requestId", ""))] = str(number)
        elif (called := open_calls.pop(str(event.fields.get("requestId", "")), None)) is not None:
            ended = Settled(called, "done" if event.kind == "response" else "failed")
            apply(state, ended)
            if declared is not None:
                declared.accounts.close(ended)
        else:
            raise Unsayable("a trace with an answer to no call")


def evaluate(opa: Path, modules: Mapping[str, str], asked: Sequence[JsonObject], folder: Path) -> list[bool]:
    """Return the verdicts on inputs, each with the name of its package, by one run of OPA."""
    rules = folder / "rules"
    rules.mkdir()
    for name, module in {**modules, "judge": _JUDGE}.items():
        (rules / f"{name}.rego").write_text(module)
    questions = folder / "input.json"
    questions.write_text(json.dumps({"asked": asked}, default=dict))
    command = [
        str(opa),
        "eval",
        "--data",
        str(rules),
        "--input",
        str(questions),
        "--format",
        "raw",
        "data.judge.results",
    ]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"OPA cannot evaluate the converted policies: {run.stderr or run.stdout}")
    return json.loads(run.stdout)


def _make_target(event: Event) -> Target:
    described = {"action": event.action, "resource": event.resource}
    upstream = tool_of(event.resource) or "none"
    return Target("tool", upstream, tool_of(event.action), upstream, "corpus", annotations=described)


def _plain(value: Any) -> Any:
    """Return a value of a trace as JSON."""
    if isinstance(value, Entity):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast("dict[str, Any]", value).items()}
    return [_plain(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
