"""`python -m benchmarks.temporal`: the temporal corpus of Dogwood, said in declared facts and Rego. A minute; needs OPA.

Fetches the crate `dogwood-language`. `--write` writes docs/benchmarks/temporal.md.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import tarfile
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.corpora.installed import FOLDER
from benchmarks.gateway.targets import ROOT
from benchmarks.temporal import judge
from benchmarks.temporal.convert import Converted, convert
from benchmarks.temporal.language import Unsayable, read_policies, read_trace
from gateway.model.errors import PolicyBroken
from gateway.model.wire import JsonObject
from gateway.policy.facts import Holds
from gateway.policy.opa.program import find_program
from gateway.policy.plan import compile_process, store
from gateway.policy.plan.program import Program
from gateway.policy.plan.values import read_json

NAME: Final = "dogwood-language-1.1.0"
URL: Final = f"https://static.crates.io/crates/dogwood-language/{NAME}.crate"
SHA256: Final = "d806f46dea4d0261710b2fad54679ad4a57be81049e91cbfa7cf638ea2749790"
CORPUS: Final = f"{NAME}/tests/passing/temporal_only/corpus/"
EXPECTED: Final = re.compile(r"^@(\S+) \(time point \d+\): (true|false)$", re.MULTILINE)
GOAL_FOLDERS, GOAL_EQUAL = 300, 0.95
OWN_EVENTS: Final = "an event schema of its own"


@dataclass(slots=True)
class Folder:
    """A folder of the corpus. `reason` says why it cannot be said. `asked` are its inputs, `expected` their verdicts."""

    name: str
    files: dict[str, str]
    reason: str | None = None
    module: str = ""
    asked: list[JsonObject] = field(default_factory=list[JsonObject])
    expected: list[bool] = field(default_factory=list[bool])
    places: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])

    @property
    def package(self) -> str:
        return f"f_{self.name}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.temporal", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/temporal.md")
    parser.add_argument("--verbose", action="store_true", help="name each folder with its reason or its wrong verdicts")
    options = parser.parse_args()
    folders = measure()
    text = describe(folders)
    print(text)
    if options.verbose:
        for each in folders:
            print(each.name, each.reason or f"{len(each.wrong)} of {len(each.expected)} differ {each.wrong}")
    if options.write:
        (ROOT / "docs/benchmarks/temporal.md").write_text(text)
    said = [each for each in folders if each.reason is None]
    equal = [each for each in said if not each.wrong]
    raise SystemExit(not (len(said) >= GOAL_FOLDERS and len(equal) >= GOAL_EQUAL * len(said)))


def measure() -> list[Folder]:
    """Return the folders of the corpus, each judged or with its reason."""
    opa = find_program()
    if opa is None:
        raise SystemExit("this benchmark needs OPA: run `make tools`")
    holds = _load_conditions()
    folders = list(read_corpus(_fetch()))
    for each in folders:
        try:
            _prepare(each, holds)
        except Unsayable as found:
            each.reason = str(found)
        except PolicyBroken as broken:
            each.reason = f"facts.yaml refuses it: {broken.message}"
    said = [each for each in folders if each.reason is None]
    with tempfile.TemporaryDirectory() as scratch:
        modules = {each.package: each.module for each in said}
        asked: list[JsonObject] = [{"package": each.package, "input": one} for each in said for one in each.asked]
        verdicts = iter(judge.evaluate(opa, modules, asked, Path(scratch)))
    for each in said:
        given = [next(verdicts) for _ in each.asked]
        pairs = zip(each.places, given, each.expected, strict=True)
        each.wrong = [f"{place} is {verdict}" for place, verdict, right in pairs if verdict is not right]
    return folders


def read_corpus(crate: bytes) -> Iterator[Folder]:
    """Yield the folders of the corpus in a crate."""
    found: dict[str, Folder] = {}
    with tarfile.open(fileobj=io.BytesIO(crate), mode="r:gz") as archive:
        for member in archive:
            if not member.isfile() or not member.name.startswith(CORPUS):
                continue
            name, _, file = member.name.removeprefix(CORPUS).partition("/")
            content = archive.extractfile(member)
            if file and content is not None:
                found.setdefault(name, Folder(name, {})).files[file] = content.read().decode()
    yield from (found[name] for name in sorted(found))


def _prepare(each: Folder, holds: Holds) -> None:
    """Convert a folder, and count its traces. Raise `Unsayable`."""
    if "event.dwschema" in each.files:
        raise Unsayable(OWN_EVENTS)
    policies = [
        policy for name in sorted(each.files) if name.endswith(".dw") for policy in read_policies(each.files[name])
    ]
    converted: Converted = convert(policies, f"corpus.{each.package}")
    each.module = converted.module
    for name in sorted(each.files):
        if name.endswith(".log"):
            _count(each, name, converted, holds)


def _count(each: Folder, name: str, converted: Converted, holds: Holds) -> None:
    expected = EXPECTED.findall(each.files[name.replace("trace", "expected").replace(".log", ".out")])
    found = list(judge.list_inputs(read_trace(each.files[name]), converted.facts, holds))
    if [at for at, _ in found] != [float(at) for at, _ in expected]:
        raise Unsayable("a trace whose verdicts are not of its requests")
    each.asked += [asked for _, asked in found]
    each.expected += [verdict == "true" for _, verdict in expected]
    each.places += [f"{name}@{at}" for at, _ in expected]


def describe(folders: Sequence[Folder]) -> str:
    """Return the page."""
    said = [each for each in folders if each.reason is None]
    equal = sum(not each.wrong for each in said)
    verdicts, wrong = sum(len(each.expected) for each in said), sum(len(each.wrong) for each in said)
    reasons = Counter(each.reason for each in folders if each.reason is not None)
    rows = "\n".join(f"| {reason} | {number} |" for reason, number in reasons.most_common())
    differing = "\n".join(f"| `{each.name}` | {'; '.join(each.wrong)} |" for each in said if each.wrong)
    return f"""\
# Declared facts beside a temporal language

    python -m benchmarks.temporal --write    # writes this page; fetches the corpus, needs OPA (`make tools`)

The crate `{NAME}` (Apache-2.0) has folders of policies in Dogwood, traces of events, and the verdict on each request. A \\
converter says each policy in [declared facts](../policy/facts.md) and Rego. The gateway's fold counts each trace, and OPA \\
judges. No folder is converted by its name.

| | |
|---|---:|
| folders | {len(folders)} |
| folders that the declarations can say | {len(said)} |
| of these, folders with equal verdicts throughout | {equal} ({equal / max(len(said), 1):.1%}) |
| verdicts | {verdicts:,} |
| equal verdicts | {verdicts - wrong:,} ({(verdicts - wrong) / max(verdicts, 1):.1%}) |

A window of a count or sum has 60 parts, and counts up to one part too long. A negative amount makes a sum incomplete, and \
the call is refused. Differences by another cause are defects.

| folder | here |
|---|---|
{differing}

| what the other folders say | folders |
|---|---:|
{rows}
"""


def _load_conditions() -> Holds:
    """Return the judge of conditions on arguments: the shipped rules."""
    return Program(compile_process.compile_plan(bytes(store.read_shipped().plan)), read_json("{}")).holds


def _fetch() -> bytes:
    """Return the crate, which is fetched once."""
    kept = FOLDER / f"{NAME}.crate"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(URL, timeout=60) as answer:
            kept.write_bytes(answer.read())
    crate = kept.read_bytes()
    if hashlib.sha256(crate).hexdigest() != SHA256:
        raise SystemExit(f"{kept} is not the crate that was measured; remove it")
    return crate


if __name__ == "__main__":
    main()
