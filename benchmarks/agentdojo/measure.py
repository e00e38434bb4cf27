"""What the shipped policy decides on each trace, and what that comes to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import yaml

from benchmarks.agentdojo.package import ROOT, Recording
from benchmarks.agentdojo.traces import Catalogue, consequential, name_of, upstream_of, written
from gateway.config import PolicySettings
from gateway.inspection.destinations import distinct
from gateway.policy import Policy
from gateway.replay import StepOutcome, read, replay
from gateway.steps.visit import SUPPORTED_OBLIGATIONS

REGO: Final = ROOT / "rego"
DIRECTORY: Final = "gateway/denials/toxic_flow/data.yaml"
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
class Verdict:
    """A task and the decisions on its steps. `asked` are the numbers of the steps that the injection asked for, and
    `harmful` those of them that change or send something."""

    recording: Recording
    outcomes: tuple[StepOutcome, ...]
    asked: tuple[int, ...]
    harmful: frozenset[int]

    @property
    def name(self) -> str:
        return name_of(self.recording)

    @property
    def gates(self) -> tuple[StepOutcome, ...]:
        """The calls of the user's own task that did not pass."""
        return tuple(
            outcome for outcome in self.outcomes if outcome.number not in self.asked and not outcome.decision.allowed
        )

    @property
    def stops(self) -> tuple[StepOutcome, ...]:
        """The calls of the injection that change or send something, and did not pass."""
        return tuple(
            outcome for outcome in self.outcomes if outcome.number in self.harmful and not outcome.decision.allowed
        )

    @property
    def passed(self) -> list[int]:
        """The calls of the injection that passed, counted within the injection."""
        return [at for at, number in enumerate(self.asked) if self.outcomes[number].decision.allowed]


@dataclass(frozen=True, slots=True)
class Measured:
    """All tasks under one catalogue."""

    benign: tuple[Verdict, ...]
    attacks: tuple[Verdict, ...]

    @property
    def gated(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.benign if verdict.gates)

    @property
    def missed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.attacks if not verdict.stops)

    def of(self, suite: str) -> Measured:
        return Measured(*(tuple(one for one in many if one.recording["suite"] == suite) for many in self._both()))

    def _both(self) -> tuple[tuple[Verdict, ...], tuple[Verdict, ...]]:
        return self.benign, self.attacks


async def measured(recordings: Sequence[Recording], tools: Catalogue, folder: Path, *, known: bool = True) -> Measured:
    """Replay all tasks of all suites. Each suite is a deployment, with its own directory unless `known` is false."""
    verdicts: list[Verdict] = []
    for suite in (item for item in recordings if item["kind"] == "suite"):
        items = [item for item in recordings if item["kind"] != "suite" and item["suite"] == suite["suite"]]
        policy = deployed(folder / suite["suite"], suite["directory"] if known else ())
        verdicts += await decided(items, tools, policy, folder / f"{suite['suite']}.jsonl")
    benign, attacks = (tuple(one for one in verdicts if one.recording["kind"] == kind) for kind in ("benign", "attack"))
    return Measured(benign, attacks)


def deployed(folder: Path, directory: Iterable[str]) -> PolicySettings:
    """The shipped policy with what every deployment brings: grants, and a list of the destinations that it trusts."""
    shutil.copytree(REGO, folder, dirs_exist_ok=True)
    trusted = {"trusted_destinations": sorted(distinct(directory))}
    (folder / DIRECTORY).write_text(yaml.safe_dump(trusted), encoding="utf-8")
    grants = folder.with_suffix(".grants.yaml")
    grants.write_text(yaml.safe_dump(GRANTS), encoding="utf-8")
    return PolicySettings(path=folder, grants=grants, reload=timedelta(days=1))


async def decided(items: Sequence[Recording], tools: Catalogue, settings: PolicySettings, file: Path) -> list[Verdict]:
    """The verdicts on recordings, by way of a file of traces, as `opagate replay` would come to them.

    What is refused is taken to go on all the same: of the user's own calls because a person would approve them, of the
    injection's because nothing that comes after the first of them that was stopped can make it less stopped.
    """
    written(items, tools, file)
    async with AsyncExitStack() as stack:
        policy = Policy.build(settings, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time)
        await policy.start()
        stack.push_async_callback(policy.stop)
        outcomes: dict[str, list[StepOutcome]] = {}
        async for outcome in replay(read(file), policy.decide, assume="forwarded"):
            outcomes.setdefault(outcome.trace, []).append(outcome)
    return list(_verdicts(items, tools, outcomes))


def _verdicts(
    items: Iterable[Recording], tools: Catalogue, outcomes: Mapping[str, Sequence[StepOutcome]]
) -> Iterator[Verdict]:
    where = upstream_of(tools)
    for item in items:
        asked = tuple(number for number, step in enumerate(item["steps"]) if step["by"] == "injection")
        harmful = frozenset(number for number in asked if consequential(item["steps"][number]["tool"], tools, where))
        yield Verdict(item, tuple(outcomes[name_of(item)]), asked, harmful)
