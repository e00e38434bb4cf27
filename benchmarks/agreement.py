"""`python -m benchmarks.agreement`: the compiled policy and a real OPA on mutations of every fixture.

Each field of every fixture is removed, and replaced by eight values; then fixtures are mutated at random. They answer with the same
whole document: effect, codes, facts and obligations. An answer may be a failure where another refuses, since both refuse.
Exit status 1 for a difference. It takes about an hour, or less with `--fields 0.1`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from gateway.model.errors import PolicyError
from gateway.policy import document as documents
from gateway.policy.folder import bundle
from gateway.policy.plan.program import CompiledPolicy
from tests.compiled_policy import compiled
from tests.policy.conftest import FAILED, FIXTURES, ROOT, Case, Opa, cases, connected, put, take
from tests.policy.test_fixtures import places

TOOLS = Path(os.environ.get("OPAGATE_TOOLS") or ROOT / ".tools")
EIGHT: tuple[Any, ...] = (None, True, 0, -1.5, "", "x", {}, [])
HOSTILE: tuple[Any, ...] = (
    *EIGHT,
    *("*", "..", "a/../b", "http://127.0.0.1/", "//h", "[::1]", "a@b.test", "%2e%2e/", "ß", "İ", "10.0.0.0/8", "1e400"),
    *(False, 1, 1.0, 2**63, -(2**63), 1e21, ["x"], [[]], {"": ""}, {"a": {"b": [None]}}),
)


@dataclass
class Evaluators:
    """One policy, compiled and in OPA."""

    compiled: CompiledPolicy
    opa: Opa

    def answers(self, case: Case, document: dict[str, Any]) -> tuple[Any, Any]:
        """Return the answers of the compiled policy and of OPA."""
        found: Any = FAILED
        with suppress(PolicyError):
            found = self.compiled.answer(case.entrypoint, document)
        return found, self.opa.evaluate(case.entrypoint, documents.encode(document))


@dataclass
class Tally:
    """The outcome: answers by effect, failures beside refusals, and the first differences."""

    effects: Counter[str] = field(default_factory=Counter[str])
    beside: int = 0
    differing: list[str] = field(default_factory=list[str])

    def add(self, answers: tuple[Any, Any], document: dict[str, Any]) -> None:
        compiled, opa = answers
        self.effects[str(opa.get("effect", "list or failure"))] += 1
        if compiled == opa:
            return
        if _refuses(compiled) and _refuses(opa) and FAILED in answers:
            self.beside += 1
        else:
            self.differing.append(f"{json.dumps(document)}\n  compiled {compiled}\n  OPA {opa}")


def main() -> int:
    """Compare, and print the outcome."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000, help="random mutations")
    parser.add_argument("--fields", type=float, default=1.0, help="the share of fields that are removed and replaced")
    parser.add_argument("--seed", type=int, default=1, help="of all chance")
    options = parser.parse_args()
    chance, tally, begun = random.Random(options.seed), Tally(), time.monotonic()
    with _policies() as policies:
        known = cases()
        asked = 0
        for case, document in chain(
            _fields(known, options.fields, chance), _mutations(known, options.mutations, chance)
        ):
            tally.add(policies[case.policy].answers(case, document), document)
            asked += 1
            if asked % 10_000 == 0:
                print(f"{asked} asked, {len(tally.differing)} differ, {time.monotonic() - begun:.0f} s", flush=True)
    for difference in tally.differing[:5]:
        print(difference)
    print(
        f"{asked} inputs: {len(tally.differing)} differ; {tally.beside} times one failed where another refused; {dict(tally.effects)}"
    )
    return 1 if tally.differing else 0


def _refuses(answer: Any) -> bool:
    return answer == FAILED or answer is None or answer.get("effect") == "deny" or answer.get("visible") == []


def _fields(known: list[Case], share: float, chance: random.Random) -> Iterator[tuple[Case, dict[str, Any]]]:
    for case in known:
        for pointer in places(case.input):
            if chance.random() >= share:
                continue
            removed = copy.deepcopy(case.input)
            take(removed, pointer)
            yield case, removed
            for value in EIGHT:
                replaced = copy.deepcopy(case.input)
                put(replaced, pointer, copy.deepcopy(value))
                yield case, replaced


def _mutations(known: list[Case], many: int, chance: random.Random) -> Iterator[tuple[Case, dict[str, Any]]]:
    for _ in range(many):
        case = chance.choice(known)
        document = copy.deepcopy(case.input)
        for _ in range(chance.randint(1, 3)):
            pointer = chance.choice(list(places(document)) or [""])
            if pointer and chance.random() < 0.2:
                take(document, pointer)
            elif pointer:
                put(document, pointer, copy.deepcopy(chance.choice(HOSTILE)))
        yield case, document


@contextmanager
def _policies() -> Generator[dict[str, Evaluators]]:
    """Serve the shipped policy, and the same rules with other data, as the tests of fixtures have them."""
    with tempfile.TemporaryDirectory() as name:
        folders = {"shipped": ROOT / "rego", "strict": _strict(Path(name) / "strict")}
        started: list[subprocess.Popen[bytes]] = []
        found: dict[str, Evaluators] = {}
        try:
            for policy, folder in folders.items():
                address = Path(name) / f"{policy}.sock"
                command = [
                    TOOLS / "opa",
                    "run",
                    "--server",
                    f"--addr=unix://{address}",
                    "--log-level=error",
                    "--bundle",
                    folder,
                ]
                started.append(subprocess.Popen(command))
                found[policy] = Evaluators(compiled(bundle.read_folder(folder)), Opa(connected(address)))
            yield found
        finally:
            for process in started:
                process.kill()
                process.wait()


def _strict(folder: Path) -> Path:
    shutil.copytree(ROOT / "rego", folder)
    shutil.copy(FIXTURES / "grants.yaml", folder / bundle.GRANTS)
    (folder / "gateway/denials/catalogue/data.yaml").write_text("unpinned: deny\n", "utf-8")
    settings = folder / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8").replace("follow_links: false", "follow_links: true")
    settings.write_text(text.replace("\nconcealed: []\n", "\nconcealed: [files/stat_*]\n"), "utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())
