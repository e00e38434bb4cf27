"""`python -m benchmarks.corpora`: the figures of all corpora in one run, as JSON, to compare one change of the policy with
the next. The benchmarks by themselves write the pages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.agentdojo.__main__ import agentdojo
from benchmarks.corpora.corpus import EVERYTHING, EXTREMES, Corpus, measure_corpus, summary
from benchmarks.corpora.measure import Setting
from benchmarks.unfamiliar.__main__ import unfamiliar

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpora", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="such as agentdojo bfcl retail")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="print the differences from an earlier run instead"
    )
    parser.add_argument("--all", action="store_true", help="all settings and both labellings: three times as long")
    options = parser.parse_args()
    corpora = [corpus for corpus in (agentdojo(), *unfamiliar(None)) if not options.only or corpus.name in options.only]
    if problems := [problem for corpus in corpora for problem in corpus.problems]:
        sys.exit("; ".join(problems))
    found = asyncio.run(_summaries(corpora, EVERYTHING if options.all else EXTREMES))
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
    """Return lists of rules as mappings by their names."""
    lists = [key for key, value in found.items() if isinstance(value, list)]
    return found | {key: {rule["rule"]: rule for rule in found[key]} for key in lists}


async def _summaries(corpora: list[Corpus], planned: Sequence[tuple[str, Setting]]) -> Figures:
    with tempfile.TemporaryDirectory() as scratch:
        return {corpus.name: summary(await measure_corpus(corpus, Path(scratch), planned)) for corpus in corpora}


if __name__ == "__main__":
    main()
