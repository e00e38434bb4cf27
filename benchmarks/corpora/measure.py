"""The decisions of the shipped policy on each trace of a corpus, and the totals."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Final

import yaml

from benchmarks.corpora.findings import Findings, FindingsReader, ObservedPolicy
from benchmarks.corpora.installed import ROOT, Recording
from benchmarks.corpora.traces import Catalogue, Deal, is_consequential, name_of, upstream_of, write_traces
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import PolicySettings
from gateway.history.jobs import Jobs
from gateway.history.returning import MAX_KEEP, ReturningText
from gateway.policy.folder import bundle
from gateway.policy.policy import Policy
from gateway.surfaces.replay import StepOutcome, Trace, read_traces, replay

REGO: Final = ROOT / "rego"
SETTINGS_DATA: Final = "gateway/settings/data.yaml"
TRUSTED: Final = "gateway/denials/toxic_flow/data.yaml"
GRANTS: Final = {
    "upstreams": {
        "*": [
            {
                "id": "everything",
                "description": "Grants are not what is measured.",
                "agents": ["*"],
                "issuers": ["*"],
                "tools": ["*"],
                "effects": ["read", "write", "destructive", "mint", "exec"],
                "sensitivity": "restricted",
            }
        ]
    }
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What an operator and a caller have said beside the labels."""

    name: str
    directory: bool
    contract: bool
    links: bool = False
    """The policy follows links, which it does not by default."""


PLAIN: Final = Setting("labels alone", directory=False, contract=False)
WITH_DIRECTORY: Final = Setting("with a directory", directory=True, contract=False)
WITH_CONTRACT: Final = Setting("with a contract", directory=False, contract=True)
WITH_BOTH: Final = Setting("with both", directory=True, contract=True)
SETTINGS: Final = (PLAIN, WITH_DIRECTORY, WITH_CONTRACT, WITH_BOTH)
WITH_LINKS: Final = Setting("with links followed", directory=False, contract=False, links=True)


@dataclass(frozen=True, slots=True)
class Ruling:
    """One call, the decision on it, and all findings against it."""

    outcome: StepOutcome
    findings: Findings

    @property
    def effect(self) -> str:
        return self.outcome.decision.effect


@dataclass(frozen=True, slots=True)
class Verdict:
    """A task and the rulings on its steps. `asked` are the numbers of the steps that the injection asked for, and
    `harmful` those of them that change or send something."""

    recording: Recording
    rulings: tuple[Ruling, ...]
    asked: tuple[int, ...]
    harmful: frozenset[int]

    @property
    def name(self) -> str:
        return name_of(self.recording)

    @property
    def gates(self) -> tuple[Ruling, ...]:
        """The calls of the user's own task that did not pass."""
        return tuple(
            ruling
            for ruling in self.rulings
            if ruling.outcome.number not in self.asked and not ruling.outcome.decision.allowed
        )

    @property
    def stops(self) -> tuple[Ruling, ...]:
        """The calls of the injection that change or send something, and did not pass."""
        return tuple(
            ruling
            for ruling in self.rulings
            if ruling.outcome.number in self.harmful and not ruling.outcome.decision.allowed
        )

    @property
    def passed(self) -> list[int]:
        """The calls of the injection that passed, counted within the injection."""
        return [at for at, number in enumerate(self.asked) if self.rulings[number].outcome.decision.allowed]


@dataclass(frozen=True, slots=True)
class Measured:
    """All tasks under one catalogue and one setting."""

    benign: tuple[Verdict, ...]
    attacks: tuple[Verdict, ...]

    @property
    def gated(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.benign if verdict.gates)

    @property
    def missed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.attacks if not verdict.stops)

    @property
    def questions(self) -> int:
        """Calls of benign tasks that a person is asked about."""
        return sum(ruling.effect == "ask" for verdict in self.benign for ruling in verdict.gates)

    @property
    def denials(self) -> int:
        """Calls of benign tasks that are refused, whoever approves."""
        return sum(ruling.effect == "deny" for verdict in self.benign for ruling in verdict.gates)

    @property
    def denied(self) -> int:
        """Benign tasks with such a call."""
        return sum(any(ruling.effect == "deny" for ruling in verdict.gates) for verdict in self.benign)

    @property
    def suites(self) -> list[str]:
        return sorted({verdict.recording["suite"] for verdict in self.benign})

    def of(self, suite: str) -> Measured:
        return Measured(
            *(tuple(one for one in many if one.recording["suite"] == suite) for many in (self.benign, self.attacks))
        )


async def measure(
    recordings: Sequence[Recording],
    tools: Catalogue,
    folder: Path,
    setting: Setting,
    *,
    judge: Catalogue | None = None,
    deal: Deal | None = None,
    day: int | None = None,
) -> Measured:
    """Replay all tasks of all suites. Each suite has a directory of its own if the setting has one.

    `judge` is the catalogue that says which calls of an attack do harm, if that is not `tools`. `deal` gives the steps to several agents.
    `day` makes so many benign tasks, taken at random, the work of one user within the warm time of a job. With `day` 0 the users
    differ, and the written texts of all tasks before may return in each result.
    """
    files: list[Path] = []
    for suite in (item for item in recordings if item["kind"] == "suite"):
        kinds = {"benign", "attack"} if day is None else {"benign"}
        items = [item for item in recordings if item["kind"] in kinds and item["suite"] == suite["suite"]]
        files.append(folder / f"{suite['suite']}.jsonl")
        directory = suite["directory"] if setting.directory else ()
        write_traces(items, tools, files[-1], contract=setting.contract, directory=directory, deal=deal)
    ends = {name_of(item): _end(item) for item in recordings if item["kind"] == "attack"}
    rulings = await decide_traces(deploy(folder / "policy", links=setting.links), files, ends, day)
    tasks = [item for item in recordings if item["kind"] != "suite" and name_of(item) in rulings]
    verdicts = [*_verdicts(tasks, judge or tools, rulings)]
    benign, attacks = (tuple(one for one in verdicts if one.recording["kind"] == kind) for kind in ("benign", "attack"))
    return Measured(benign, attacks)


def deploy(folder: Path, *, links: bool = False) -> PolicySettings:
    """Return the shipped policy with grants of its own, and without the examples of trusted destinations."""
    shutil.copytree(REGO, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*_test.rego"))
    (folder / TRUSTED).write_text(yaml.safe_dump({"trusted_destinations": []}), encoding="utf-8")
    if links:
        settings = folder / SETTINGS_DATA
        settings.write_text(settings.read_text("utf-8").replace("follow_links: false", "follow_links: true"), "utf-8")
    grants = folder.with_suffix(".grants.yaml")
    grants.write_text(yaml.safe_dump(GRANTS), encoding="utf-8")
    return PolicySettings(path=folder, grants=grants, reload=timedelta(days=1))


def _end(item: Recording) -> int:
    """Return the number of steps until an attack is over. What the task does afterwards stops nothing."""
    return max(number for number, step in enumerate(item["steps"]) if step["by"] == "injection") + 1


async def decide_traces(
    settings: PolicySettings, files: Iterable[Path], ends: Mapping[str, int], day: int | None = None
) -> dict[str, list[Ruling]]:
    """Return the rulings on files of traces, by trace, as `opagate policy replay` would come to them.

    A refused call goes on all the same. A person would approve the user's own calls; an attack that was stopped once
    stays stopped, whatever comes after. `ends` has the number of steps of traces that are not replayed whole. `day` is as in `measure`.
    """
    assert settings.path is not None
    async with AsyncExitStack() as stack:
        policy = Policy.build(settings, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time, is_for_calls=False)
        await policy.start()
        stack.push_async_callback(policy.stop)
        observed = ObservedPolicy(policy, FindingsReader(bundle.read_folder(settings.path, settings.grants)))
        rulings: dict[str, list[Ruling]] = {}
        traces = _until(ends, chain.from_iterable(map(read_traces, files)))
        traces = traces if day is None else _shuffle(traces)
        texts, jobs = ReturningText(MAX_KEEP) if day == 0 else None, _Days(day or 1).begin_task
        async for outcome in replay(traces, observed.decide, assume="forwarded", jobs=jobs, returning=texts):
            rulings.setdefault(outcome.trace, []).append(Ruling(outcome, observed.take()))
    return rulings


class _Days:
    """The jobs of users with so many tasks each."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._begun = 0
        self._jobs = Jobs()

    def begin_task(self) -> Jobs:
        """Return the job of the next task."""
        if self._begun % self._tasks == 0:
            self._jobs = Jobs()
        self._begun += 1
        return self._jobs


def _shuffle(traces: Iterable[Trace]) -> list[Trace]:
    """Return traces in an order that is random, and the same in each run."""
    whole = [replace(trace, steps=tuple(trace.steps)) for trace in traces]
    random.Random(27).shuffle(whole)
    return whole


def _until(ends: Mapping[str, int], traces: Iterable[Trace]) -> Iterator[Trace]:
    return (replace(trace, steps=islice(trace.steps, ends.get(trace.id))) for trace in traces)


def _verdicts(
    items: Iterable[Recording], judge: Catalogue, rulings: Mapping[str, Sequence[Ruling]]
) -> Iterator[Verdict]:
    where = upstream_of(judge)
    for item in items:
        asked = tuple(number for number, step in enumerate(item["steps"]) if step["by"] == "injection")
        harmful = frozenset(number for number in asked if is_consequential(item["steps"][number]["tool"], judge, where))
        yield Verdict(item, tuple(rulings[name_of(item)]), asked, harmful)
