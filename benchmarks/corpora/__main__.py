"""`python -m benchmarks.corpora`: the figures of all corpora in one run, as JSON, to compare one change of the policy with
the next. The benchmarks by themselves write the pages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from benchmarks.agentdojo.__main__ import agentdojo
from benchmarks.corpora.corpus import Corpus, measure_corpus, summary
from benchmarks.unfamiliar.__main__ import unfamiliar

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpora", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="such as agentdojo bfcl retail")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="print the differences from an earlier run instead"
    )
    options = parser.parse_args()
    corpora = [corpus for corpus in (agentdojo(), *unfamiliar(None)) if not options.only or corpus.name in options.only]
    if problems := [problem for corpus in corpora for problem in corpus.problems]:
        sys.exit("; ".join(problems))
    found = asyncio.run(_summaries(corpora))
    if options.against is None:
        print(json.dumps(found, indent=1))
    else:
        before = json.loads(options.against.read_text(encoding="utf-8"))
        print("\n".join(differences(before, found)) or "nothing differs")


def differences(before: Any, now: Any, place: str = "") -> list[str]:
    """Return a line for each figure that two runs do not share. Runs of fewer corpora are compared in those alone."""
    if isinstance(now, dict) and isinstance(before, dict):
        old, new = _named(cast("Figures", before)), _named(cast("Figures", now))
        shared = [key for key in new if key in old or place]
        return [line for key in shared for line in differences(old.get(key), new[key], f"{place}/{key}")] + [
            f"{place}/{key}: gone" for key in old if place and key not in new
        ]
    return [] if before == now else [f"{place}: {json.dumps(before)} → {json.dumps(now)}"]


def _named(found: Figures) -> Figures:
    """Return the list of rules as a mapping by their names."""
    if not isinstance(found.get("rules"), list):
        return found
    return {**found, "rules": {rule["rule"]: rule for rule in found["rules"]}}


async def _summaries(corpora: list[Corpus]) -> Figures:
    with tempfile.TemporaryDirectory() as scratch:
        return {corpus.name: summary(await measure_corpus(corpus, Path(scratch))) for corpus in corpora}


if __name__ == "__main__":
    main()
