"""Soft limits from benign recordings: how far each task reaches, the limit that follows, and a check on tasks held out.

A soft limit is the 99th percentile of the numbers that the benign tasks of one corpus raise, in the corpus that reaches
furthest. docs/policy/limits.md explains it. Pure but for `read_numbers` and `shipped`.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import yaml

from benchmarks.corpora.corpus import Corpus
from benchmarks.corpora.installed import ROOT, Recording
from benchmarks.corpora.report import table
from benchmarks.corpora.traces import make_trace, upstream_of
from gateway.model.decision import Decision, PolicyRevision
from gateway.model.wire import JsonObject
from gateway.surfaces.replay import read_traces, replay

LIMITS: Final = (
    "audiences",
    "audiences_in_window",
    "write_audiences",
    "destinations",
    "call_destinations",
    "spread",
)
"""The limits of `task_limits` that recordings tell about. No recording has delegation, several tenants or environments."""
OWN: Final = ("own_destinations", "call_own_destinations")
"""The limits of own domains. Recordings rarely write to many colleagues, so these are shown and not derived."""
EARLIER: Final[Mapping[str, int]] = {
    "audiences": 5,
    "audiences_in_window": 5,
    "write_audiences": 4,
    "destinations": 7,
    "call_destinations": 7,
}
"""99th percentiles of an earlier corpus of recorded agents, whose recordings are not kept. Of its benign tasks 7.2 % reached
more than four systems and none more than five; 1.7 % wrote to more than three; none had more than seven destinations. A
minute reaches no more systems than its task, and a call has no more destinations."""
SHARE: Final = 0.99
"""The share of benign tasks that a soft limit lets pass."""

Numbers = Mapping[str, int]
"""Limit → the highest number that one task raises."""
Reached = Mapping[str, Mapping[str, Numbers]]
"""Corpus → benign task → its numbers."""

_COUNTED: Final = {"destinations": "unnamed_destinations", "call_destinations": "call_unnamed_destinations"}
"""Limit → the number that its soft limit counts, if that has another name."""
_ALLOW: Final = Decision("allow", (), (), PolicyRevision("none", "0"))


async def read_numbers(corpus: Corpus, folder: Path) -> dict[str, Numbers]:
    """Return the numbers of each benign task. Every call passes, and no policy is asked: no fact depends on one."""
    found = await _highest(corpus, folder / f"{corpus.name}.jsonl", LIMITS, own=False)
    inside = await _highest(corpus, folder / f"{corpus.name}-own.jsonl", OWN, own=True)
    return {name: {**numbers, **inside[name]} for name, numbers in found.items()}


async def _highest(corpus: Corpus, file: Path, names: Sequence[str], *, own: bool) -> dict[str, dict[str, int]]:
    where = upstream_of(corpus.tools)
    domains = {item["suite"]: own_domains(item) for item in corpus.recordings if item["kind"] == "suite"}
    with file.open("w", encoding="utf-8") as lines:
        for item in corpus.recordings:
            if item["kind"] == "benign":
                stated = {"own_domains": domains[item["suite"]] if own else []}
                lines.write(json.dumps({**stated, **make_trace(item, corpus.tools, where)}) + "\n")
    found: dict[str, dict[str, int]] = {}
    async for outcome in replay(read_traces(file), _allow):
        raised = cast("Mapping[str, int]", outcome.facts["raises"])
        highest = found.setdefault(outcome.trace, dict.fromkeys(names, 0))
        for name in names:
            highest[name] = max(highest[name], raised.get(_COUNTED.get(name, name), 0))
    return found


def own_domains(suite: Recording) -> list[str]:
    """Return the domain of most people of a suite's directory: none if the directory has no mail addresses."""
    mail = [entry.rpartition("@")[2] for entry in suite["directory"] if entry.rpartition("@")[0]]
    hosts = Counter(host for host in mail if "." in host)
    return [host for host, _ in hosts.most_common(1)]


def propose(corpora: Iterable[Iterable[Numbers]]) -> dict[str, int]:
    """Return the soft limits that follow from the benign tasks of some corpora. They may pass a hard limit."""
    tasks = [[*each] for each in corpora]
    return {
        name: max((percentile([one[name] for one in each], SHARE) for each in tasks if each), default=0)
        for name in LIMITS
    }


def with_earlier(limits: Numbers) -> dict[str, int]:
    """Return limits that let the earlier corpus pass too."""
    return {name: max(number, EARLIER.get(name, 0)) for name, number in limits.items()}


def percentile(numbers: Sequence[int], share: float) -> int:
    """Return the least number that at least `share` of some numbers do not pass (nearest rank)."""
    ordered = sorted(numbers)
    return next(number for at, number in enumerate(ordered, 1) if at / len(ordered) >= share)


def passing(tasks: Mapping[str, Numbers], limits: Numbers) -> list[str]:
    """Return the tasks that pass one of the limits."""
    return [name for name, numbers in tasks.items() if any(numbers[limit] > limits[limit] for limit in limits)]


def halves(reached: Reached) -> tuple[Reached, Reached]:
    """Return two halves of the tasks of each corpus. The checksum of its name says in which half a task is."""
    one, other = (
        {
            corpus: {n: found for n, found in tasks.items() if zlib.crc32(n.encode()) % 2 == odd}
            for corpus, tasks in reached.items()
        }
        for odd in (0, 1)
    )
    return one, other


def shipped() -> dict[str, int]:
    """Return the soft limits of the shipped policy; the hard limit of a fact without a soft one."""
    settings: Any = yaml.safe_load((ROOT / "rego/gateway/settings/data.yaml").read_text(encoding="utf-8"))
    found = settings["task_limits"]
    return {name: found[name].get("soft", found[name]["hard"]) for name in (*LIMITS, *OWN)}


def report(reached: Reached) -> str:
    """Return the distributions, the limits that follow and the check on tasks held out, as Markdown."""
    given = shipped()
    derived = with_earlier(propose(tasks.values() for tasks in reached.values()))
    rows = [
        (
            f"`{name}`",
            *(_spread(tasks, name) for tasks in reached.values()),
            str(EARLIER.get(name, "–")),
            *_limits(name, derived, given),
        )
        for name in (*LIMITS, *OWN)
    ]
    heads = (
        "limit",
        *(f"{corpus} ({len(tasks)})" for corpus, tasks in reached.items()),
        "earlier",
        "derived",
        "shipped",
    )
    over = {corpus: passing(tasks, {name: given[name] for name in LIMITS}) for corpus, tasks in reached.items()}
    return "\n".join(
        [
            "Numbers of benign tasks as median, 95th and 99th percentile, and highest.",
            "",
            *table(heads, rows),
            "",
            f"Benign tasks that pass a shipped soft limit: {_counted(over, reached)}.",
            "",
            "Derived from one half, measured on the other (tasks that pass a derived limit):",
            "",
            *table(("derived from", "without the earlier corpus", "with it"), _held_out(reached)),
        ]
    )


def _spread(tasks: Mapping[str, Numbers], name: str) -> str:
    numbers = [found[name] for found in tasks.values()]
    return " · ".join(str(percentile(numbers, share)) for share in (0.5, 0.95, SHARE, 1.0))


def _limits(name: str, derived: Numbers, given: Numbers) -> tuple[str, str]:
    return str(derived.get(name, "–")), str(given[name])


def _counted(over: Mapping[str, Sequence[str]], reached: Reached) -> str:
    return ", ".join(f"{corpus} {len(names)} of {len(reached[corpus])}" for corpus, names in over.items())


def _held_out(reached: Reached) -> list[tuple[str, str, str]]:
    one, other = halves(reached)
    rows: list[tuple[str, str, str]] = []
    for name, learned, held in (("first half", one, other), ("second half", other, one)):
        limits = propose(tasks.values() for tasks in learned.values())
        alone, both = (
            _counted({corpus: passing(tasks, chosen) for corpus, tasks in held.items()}, held)
            for chosen in (limits, with_earlier(limits))
        )
        rows.append((name, alone, both))
    return rows


async def _allow(_document: JsonObject) -> Decision:
    return _ALLOW
