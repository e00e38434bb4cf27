"""`python -m benchmarks.agentdojo`: how many of AgentDojo's attacks the shipped policy stops, and whom it stops beside
them. No model, no network once the package is installed; under two minutes, under one from the second time on.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.agentdojo import package, traces
from benchmarks.agentdojo.measure import REGO, Measured, measured
from benchmarks.agentdojo.report import report
from gateway.policy import bundle

RESULTS = package.ROOT / "docs/benchmarks/agentdojo-results.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agentdojo", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(package.ROOT)}")
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="keep the traces and the policies there")
    options = parser.parse_args()
    recordings, tools = package.recordings(), traces.catalogue()
    if problems := traces.unlabelled(tools, recordings):
        sys.exit("catalogue.yaml: " + "; ".join(problems))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result, others = asyncio.run(everything(recordings, tools, folder))
        cases = [dict(verdict.recording) | {"steps": [], "passed": verdict.passed} for verdict in result.attacks]
        reached = [traces.name_of(case) for case in package.judged(cases, folder) if case["reached"]]
        if options.traces:
            shutil.copytree(folder / "labelled", options.traces, dirs_exist_ok=True)
    date = dt.datetime.now(dt.UTC).date().isoformat()
    text = report(result, others, date=date, revision=bundle.read(REGO).revision, reached=reached)
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(f"# AgentDojo: results\n\n{text}\n", encoding="utf-8")


async def everything(
    recordings: list[package.Recording], tools: traces.Catalogue, folder: Path
) -> tuple[Measured, dict[str, Measured]]:
    """The catalogue as it is, and what would be if some labels were others."""
    result = await measured(recordings, tools, folder / "labelled")
    others = {"no directory": await measured(recordings, tools, folder / "unknown", known=False)}
    for name, (what, change) in traces.VARIANTS.items():
        others[what] = await measured(recordings, traces.varied(tools, change), folder / name)
    return result, others


if __name__ == "__main__":
    main()
