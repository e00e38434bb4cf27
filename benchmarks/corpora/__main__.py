"""`python -m benchmarks.corpora`: the figures of all corpora in one run, as JSON, to compare one change of the policy with
the next. The benchmarks by themselves write the pages.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from benchmarks.agentdojo.__main__ import agentdojo
from benchmarks.corpora import days, limits
from benchmarks.corpora.corpus import EVERYTHING, EXTREMES, LINKS, Corpus, Results, measure_corpora, summary
from benchmarks.corpora.dealt import measure_dealt
from benchmarks.corpora.installed import ROOT
from benchmarks.corpora.measure import REGO
from benchmarks.corpora.rules_page import rules_page
from benchmarks.unfamiliar.__main__ import unfamiliar
from gateway.policy.folder import bundle

Figures = dict[str, Any]


PAGE = ROOT / "docs/benchmarks/rules.md"


def main() -> None:
    options = _options()
    corpora = [corpus for corpus in (agentdojo(), *unfamiliar(None)) if not options.only or corpus.name in options.only]
    if problems := [problem for corpus in corpora for problem in corpus.problems]:
        sys.exit("; ".join(problems))
    if options.limits:
        print(limits.report(asyncio.run(_numbers(corpora))))
        return
    if options.dealt:
        with tempfile.TemporaryDirectory() as scratch:
            print(measure_dealt(corpora, Path(scratch)))
        return
    if options.days:
        print(days.report(asyncio.run(_days(corpora))))
        return
    planned = LINKS if options.rules else EVERYTHING if options.all else EXTREMES
    with tempfile.TemporaryDirectory() as scratch:
        results = measure_corpora(corpora, Path(scratch), planned)
    if options.rules:
        _show_rules(results, write=options.write)
        return
    found = {name: summary(each) for name, each in results.items()}
    if options.against is None:
        print(json.dumps(found, indent=1))
    else:
        before = json.loads(options.against.read_text(encoding="utf-8"))
        print("\n".join(differences(before, found)) or "nothing differs")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpora", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="such as agentdojo bfcl retail")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="print the differences from an earlier run instead"
    )
    parser.add_argument("--limits", action="store_true", help="print how far benign tasks reach, and soft limits")
    parser.add_argument(
        "--days", action="store_true", help="print what a user does in a day, and soft limits over tasks"
    )
    parser.add_argument("--rules", action="store_true", help="print what each rule stops and costs on each corpus")
    parser.add_argument("--write", action="store_true", help=f"with --rules: write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--dealt", action="store_true", help="print the figures of tasks that several agents share")
    parser.add_argument("--all", action="store_true", help="all settings and both labellings: three times as long")
    return parser.parse_args()


def _show_rules(results: Mapping[str, Results], *, write: bool) -> None:
    date, revision = dt.datetime.now(dt.UTC).date().isoformat(), bundle.read_folder(REGO).revision
    text = rules_page(results, date=date, revision=revision)
    print(text)
    if write:
        PAGE.write_text(text, encoding="utf-8")


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


async def _numbers(corpora: list[Corpus]) -> limits.Reached:
    with tempfile.TemporaryDirectory() as scratch:
        return {corpus.name: await limits.read_numbers(corpus, Path(scratch)) for corpus in corpora}


async def _days(corpora: list[Corpus]) -> days.Days:
    with tempfile.TemporaryDirectory() as scratch:
        return {corpus.name: await days.read_days(corpus, Path(scratch)) for corpus in corpora}


if __name__ == "__main__":
    main()
