"""The corpus: what happened elsewhere must not pass here, in whatever disguise, and harmless work must pass untouched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import EmbeddedEngine, OpaEngine, PolicySettings
from gateway.policy.folder import bundle
from gateway.policy.policy import Policy
from gateway.surfaces.replay import StepOutcome, Trace, replay
from gateway.surfaces.replay.engine import Assume
from gateway.surfaces.replay.report import describe_expected
from gateway.surfaces.replay.trace import head, step
from tests.policy.conftest import ROOT, connected
from tests.policy.disguises import Raw, decisive, disguised

ONE_LOOP = pytest.mark.asyncio(loop_scope="module")
"""One policy for all tests: loading it takes longer than they do."""

PATIENT = timedelta(seconds=20)
"""A late decision is a refusal, which is no matter of the corpus."""
CORPUS = Path(__file__).parent / "incidents"
GRANTS = CORPUS / "grants.yaml"
INCIDENTS = {
    "amazon-q",
    "clinejection",
    "deepseek",
    "echoleak",
    "github-mcp",
    "kiro",
    "llmjacking",
    "mass-fan-out",
    "moltbook",
    "pocketos",
    "replit",
    "salesloft-drift",
    "supabase-mcp",
    "teampcp",
    "tool-poisoning",
    "vercel",
}


def raw(path: Path) -> list[Raw]:
    return [cast("Raw", json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def loaded(trace: Raw) -> Trace:
    after: float | None = None
    steps: list[Any] = []
    for number, item in enumerate(trace["steps"]):
        steps.append(step(item, number, trace["id"], after))
        after = steps[-1].at
    return head({name: value for name, value in trace.items() if name != "steps"}, steps)


TRACES = [trace for path in sorted(CORPUS.glob("*.jsonl")) for trace in raw(path)]
ATTACKS = [trace for trace in TRACES if decisive(trace) is not None]
BENIGN = [trace for trace in TRACES if decisive(trace) is None]
OTHERWISE = {
    ("amazon-q-2025-07", "other argument"): "approval/effect",
    ("clinejection-2026-02", "other argument"): "approval/effect",
}
"""Disguises that are held for another reason: what stands in an unlabelled argument is no command, but the tool runs
code whatever it is given."""


def cases() -> Iterator[Any]:
    """Each attack in each disguise."""
    for attack in ATTACKS:
        for name, made in disguised(attack):
            expect = made["steps"][-1]["expect"]
            expect["code"] = OTHERWISE.get((attack["id"], name), expect["code"])
            yield pytest.param(made, id=f"{attack['id']}: {name}")


@dataclass(frozen=True, slots=True)
class Replays:
    """What a policy says of traces. Several tests look at the same ones, so each is replayed once."""

    policy: Policy
    done: dict[tuple[str, Assume], list[StepOutcome]] = field(
        default_factory=dict[tuple[str, Assume], list[StepOutcome]]
    )

    async def of(self, trace: Raw, assume: Assume = "refused") -> list[StepOutcome]:
        key = (json.dumps(trace), assume)
        if key not in self.done:
            found = replay([loaded(trace)], self.policy.decide, assume=assume)
            self.done[key] = [outcome async for outcome in found]
        return self.done[key]


@pytest.fixture(scope="module")
def rego() -> Path:
    """The shipped policy."""
    return ROOT / "rego"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded(rego: Path) -> AsyncIterator[Replays]:
    """The policy, with the grants of the corpus."""
    engine = EmbeddedEngine(deadline=PATIENT)
    policy = await started(PolicySettings(engine=engine, path=rego, grants=GRANTS))
    yield Replays(policy)
    await policy.stop()


@pytest.fixture(scope="module")
def opa_socket(opa_path: Path, rego: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real OPA with the same policy."""
    folder = tmp_path_factory.mktemp("corpus")
    shutil.copytree(rego, folder / "rego")
    shutil.copy(GRANTS, folder / "rego" / bundle.GRANTS)
    address = folder / "opa.sock"
    command = [
        opa_path,
        "run",
        "--server",
        "--addr",
        f"unix://{address}",
        "--log-level",
        "error",
        "-b",
        folder / "rego",
    ]
    process = subprocess.Popen(command)
    connected(address).close()
    yield address
    process.kill()
    process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opa(opa_socket: Path) -> AsyncIterator[Replays]:
    engine = OpaEngine(kind="opa", url=f"unix://{opa_socket}", deadline=PATIENT)
    policy = await started(PolicySettings(engine=engine))
    yield Replays(policy)
    await policy.stop()


async def started(settings: PolicySettings) -> Policy:
    policy = Policy.build(settings, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time)
    await policy.start()
    return policy


def told(outcome: StepOutcome) -> str:
    return f"step {outcome.number}, {outcome.tool}: {outcome.decision.effect} {' '.join(outcome.codes)}"


def named(trace: Raw) -> str:
    return str(trace["id"])


@ONE_LOOP
@pytest.mark.parametrize("trace", ATTACKS, ids=named)
async def test_what_happened_in_an_incident_does_not_pass(trace: Raw, embedded: Replays):
    for outcome in await embedded.of(trace):
        if outcome.expect is None:
            assert outcome.decision.effect == "allow", told(outcome)
        else:
            assert outcome.met, f"{told(outcome)}, expected {describe_expected(outcome)}"


@ONE_LOOP
@pytest.mark.parametrize("trace", list(cases()))
async def test_no_disguise_helps_an_attack(trace: Raw, embedded: Replays):
    *before, last = await embedded.of(trace)

    assert {told(outcome) for outcome in before if outcome.decision.effect != "allow"} == set()
    assert last.expect is not None
    assert last.met, f"{told(last)}, expected {describe_expected(last)}"


@ONE_LOOP
@pytest.mark.parametrize("trace", BENIGN, ids=lambda trace: trace["id"])
async def test_harmless_work_passes_untouched(trace: Raw, embedded: Replays):
    found = await embedded.of(trace)

    assert {told(outcome) for outcome in found if outcome.decision.effect != "allow" or outcome.codes} == set()


@ONE_LOOP
@pytest.mark.parametrize(("trace", "number", "depth"), [("moltbook-2026-01", 3, 1), ("vercel-2026-04", 4, 2)])
async def test_a_chain_of_credentials_is_followed_to_its_end(trace: str, number: int, depth: int, embedded: Replays):
    (found,) = [item for item in TRACES if item["id"] == trace]

    outcome = (await embedded.of(found, "forwarded"))[number]

    assert outcome.codes == (("credential-chain/presentation",) if depth == 1 else ("credential-chain/lineage",))
    assert outcome.decision.effect == ("ask" if depth == 1 else "deny")
    assert max(item["chain_depth"] for item in cast("Any", outcome.facts["credentials"])) == depth


@ONE_LOOP
async def test_an_attack_is_seen_also_if_all_before_it_went_on(embedded: Replays):
    for attack in ATTACKS:
        found = (await embedded.of(attack, "forwarded"))[decisive(attack) or 0]
        assert found.met, f"{attack['id']}: {told(found)}"


def test_every_incident_is_there_and_as_much_harmless_work():
    assert {path.stem for path in CORPUS.glob("*.jsonl") if not path.stem.startswith("benign-")} == INCIDENTS
    assert {trace["id"] for trace in BENIGN if not trace["id"].startswith("benign-")} == set()
    assert len(BENIGN) >= len(INCIDENTS)
    assert len({trace["id"] for trace in TRACES}) == len(TRACES)
    assert len(list(cases())) == 7 * len(ATTACKS)


def test_a_disguise_differs_from_the_plain_attack():
    for attack in ATTACKS:
        for name, made in disguised(attack):
            number = decisive(attack) or 0
            assert made["steps"] != attack["steps"][: number + 1], f"{attack['id']}: {name}"


def test_no_secret_stands_in_the_corpus():
    real = re.compile(
        r"AKIA[A-Z2-7]{16}(?<!EXAMPLE)|gh[a-z]_\w{36}|xox[a-z]-\d|sk_live_\w{20}|PRIVATE KEY|eyJ\w{20,}\.eyJ"
    )

    assert {path.name for path in CORPUS.glob("*.jsonl") if real.search(path.read_text(encoding="utf-8"))} == set()
