"""`python -m benchmarks.agentdojo`: how many of AgentDojo's attacks the shipped policy stops, and which honest tasks it
holds up. No model, and no network once the package is installed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.agentdojo import package
from benchmarks.agentdojo.report import report
from benchmarks.agentdojo.variants import VARIANTS, varied
from benchmarks.corpora.corpus import BY_HAND, Corpus, Job, measure_corpora, run_jobs, summary
from benchmarks.corpora.installed import ROOT
from benchmarks.corpora.measure import REGO, WITH_DIRECTORY, Measured
from benchmarks.corpora.traces import name_of, read_catalogue
from gateway.policy.folder import bundle

RESULTS = ROOT / "docs/benchmarks/agentdojo-results.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agentdojo", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--json", action="store_true", help="print the figures for programs, and nothing else")
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="keep the traces and the policies there")
    options = parser.parse_args()
    corpus = agentdojo()
    if corpus.problems:
        sys.exit("; ".join(corpus.problems))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results = measure_corpora([corpus], folder)[corpus.name]
        if options.traces:
            shutil.copytree(folder, options.traces, dirs_exist_ok=True)
        if options.json:
            print(json.dumps({corpus.name: summary(results)}, indent=1))
            return
        variants = measure_variants(corpus, folder)
        measured = results[BY_HAND][WITH_DIRECTORY.name]
        cases = [dict(verdict.recording) | {"steps": [], "passed": verdict.passed} for verdict in measured.attacks]
        reached = [name_of(case) for case in package.judged(cases, folder) if case["reached"]]
    date = dt.datetime.now(dt.UTC).date().isoformat()
    text = report(results, variants, date=date, revision=bundle.read_folder(REGO).revision, reached=reached)
    print(text)
    if options.write:
        RESULTS.write_text(f"# AgentDojo: results\n\n{text}\n", encoding="utf-8")


def agentdojo() -> Corpus:
    return Corpus("agentdojo", package.recordings(), read_catalogue(Path(__file__).with_name("catalogue.yaml")))


def measure_variants(corpus: Corpus, folder: Path) -> dict[str, Measured]:
    """Return the measurements with other labels, by the description of the change."""
    changed = {name: varied(corpus.tools, change) for name, (_, change) in VARIANTS.items()}
    jobs = [Job(replace(corpus, tools=tools), name, tools, WITH_DIRECTORY) for name, tools in changed.items()]
    described = [description for description, _ in VARIANTS.values()]
    return dict(zip(described, run_jobs(jobs, folder), strict=True))


if __name__ == "__main__":
    main()
