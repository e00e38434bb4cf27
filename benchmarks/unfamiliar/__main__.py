"""`python -m benchmarks.unfamiliar`: which honest tasks of BFCL and tau2 the shipped policy holds up, and which attacks
planted in them it stops. No model, and no network once the packages are installed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.corpora.corpus import Corpus, measure_corpora, summary
from benchmarks.corpora.installed import ROOT, Recording
from benchmarks.corpora.measure import REGO
from benchmarks.corpora.traces import read_catalogue
from benchmarks.unfamiliar import packages
from benchmarks.unfamiliar.injections import attacks, read_injections
from benchmarks.unfamiliar.report import report
from gateway.policy.folder import bundle

RESULTS = ROOT / "docs/benchmarks/unfamiliar-results.md"
CATALOGUES = Path(__file__).with_name("catalogue")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unfamiliar", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--json", action="store_true", help="print the figures for programs, and nothing else")
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="keep the traces and the policies there")
    parser.add_argument("--tau2", type=Path, metavar="CLONE", help="take the tasks of a clone of tau2-bench")
    options = parser.parse_args()
    corpora = unfamiliar(options.tau2)
    if problems := [problem for corpus in corpora for problem in corpus.problems]:
        sys.exit("; ".join(problems))
    with tempfile.TemporaryDirectory() as scratch:
        results = measure_corpora(corpora, Path(scratch))
        if options.traces:
            shutil.copytree(scratch, options.traces, dirs_exist_ok=True)
    if options.json:
        print(json.dumps({name: summary(result) for name, result in results.items()}, indent=1))
        return
    date, revision = dt.datetime.now(dt.UTC).date().isoformat(), bundle.read_folder(REGO).revision
    tasks = f"tasks of tau2-bench {packages.COMMIT[:7]}" if options.tau2 else "with its tasks"
    text = report(results, date=date, revision=revision, tasks=tasks)
    print(text)
    if options.write:
        RESULTS.write_text(f"# Unfamiliar work: results\n\n{text}\n", encoding="utf-8")


def unfamiliar(repository: Path | None) -> list[Corpus]:
    """Return BFCL and the domains of tau2, each a corpus of its own."""
    recordings = [*packages.bfcl(), *packages.tau2(repository)]
    return [_corpus(suite, recordings) for suite in ("bfcl", "retail", "airline", "banking")]


def _corpus(suite: str, recordings: list[Recording]) -> Corpus:
    tools = read_catalogue(CATALOGUES / f"{suite}.yaml")
    own = [item for item in recordings if item["suite"] == suite]
    planted = attacks(own, tools, read_injections(suite))
    return Corpus(suite, [*own, *planted], tools)


if __name__ == "__main__":
    main()
