"""Soft limits over tasks from benign recordings: what one user does in a day of many tasks.

A day is a row of tasks that are drawn from one corpus. Each call passes. The numbers are those of `rego/gateway/facts.yaml`.
docs/policy/limits.md explains the rule. Pure but for `read_days`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import yaml

from benchmarks.corpora.corpus import Corpus
from benchmarks.corpora.installed import ROOT
from benchmarks.corpora.limits import SHARE, percentile
from benchmarks.corpora.report import table
from benchmarks.corpora.traces import make_trace, upstream_of
from gateway.model.decision import Decision, PolicyRevision
from gateway.model.wire import JsonObject
from gateway.policy.facts import FactBook, read_facts
from gateway.surfaces.replay import read_traces, replay

TASKS: Final = 100
"""Tasks of a day: more than most people give to agents. A task is drawn once, while there are others."""
DAYS: Final = 30
"""Days of a corpus."""
LIMITS: Final = ("calls", "writes", "repeats", "amount", "systems", "destinations")

Numbers = Mapping[str, float]
"""Limit → the highest number of a day."""
Days = Mapping[str, Sequence[Numbers]]
"""Corpus → the numbers of its days."""

_ALLOW: Final = Decision("allow", (), (), PolicyRevision("none", "0"))


async def read_days(corpus: Corpus, folder: Path, days: int = DAYS) -> list[dict[str, float]]:
    """Return the numbers of some days of a corpus. The same corpus always gives the same days."""
    where, chance = upstream_of(corpus.tools), Random(corpus.name)
    tasks = [make_trace(item, corpus.tools, where) for item in corpus.recordings if item["kind"] == "benign"]
    file, found = folder / f"{corpus.name}-days.jsonl", list[dict[str, float]]()
    for _ in range(days):
        drawn = chance.sample(tasks, min(TASKS, len(tasks)))
        drawn += chance.choices(tasks, k=TASKS - len(drawn))
        file.write_text(json.dumps(_join(drawn)) + "\n", encoding="utf-8")
        found.append(await _highest(file))
    return found


def _join(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return tasks as one: numbers over tasks ask for no task."""
    upstreams = {name: site for task in tasks for name, site in task["upstreams"].items()}
    return {
        "id": "day",
        "task": {"agent": tasks[0]["task"]["agent"], "user": "ada"},
        "upstreams": upstreams,
        "steps": [step for task in tasks for step in task["steps"]],
    }


async def _highest(file: Path) -> dict[str, float]:
    highest: dict[str, float] = dict.fromkeys(LIMITS, 0.0)

    async def decide(document: JsonObject) -> Decision:
        facts = cast("Mapping[str, float]", document.get("facts", {}))
        if "facts_incomplete" in document:
            raise ValueError(f"a fact of {document['resource']} is incomplete: {document['facts_incomplete']}")
        for name in LIMITS:
            highest[name] = max(highest[name], facts.get(f"party_{name}", 0.0))
        return _ALLOW

    async for _ in replay(read_traces(file), decide, facts=_shipped_facts):
        pass
    return highest


def _shipped_facts() -> FactBook:
    return _FACTS


_FACTS: Final = read_facts(
    {"gateway": yaml.safe_load((ROOT / "rego/gateway/facts.yaml").read_text(encoding="utf-8"))},
    lambda _condition, _arguments, _pointer: False,
)


def propose(days: Days) -> dict[str, float]:
    """Return the soft limits that follow from the days of some corpora."""
    return {
        name: max(percentile([round(day[name]) for day in each], SHARE) for each in days.values()) for name in LIMITS
    }


def shipped() -> dict[str, Mapping[str, float]]:
    """Return the limits of users in the shipped policy."""
    settings: Any = yaml.safe_load((ROOT / "rego/gateway/settings/data.yaml").read_text(encoding="utf-8"))
    return settings["user_limits"]


def report(days: Days) -> str:
    """Return the distributions, and the limits that follow, as Markdown."""
    derived, given = propose(days), shipped()
    rows = [
        (
            f"`{name}`",
            *(_spread(each, name) for each in days.values()),
            str(derived[name]),
            str(given[name]["soft"]),
            str(given[name]["hard"]),
        )
        for name in LIMITS
    ]
    head = f"Numbers of {DAYS} days of {TASKS} benign tasks as median, 95th and 99th percentile, and highest."
    return "\n".join([head, "", *table(("limit", *days, "derived", "soft", "hard"), rows)])


def _spread(days: Sequence[Numbers], name: str) -> str:
    numbers = [round(day[name]) for day in days]
    return " · ".join(str(percentile(numbers, share)) for share in (0.5, 0.95, SHARE, 1.0))
