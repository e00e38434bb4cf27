"""One corpus under all settings and both labellings, and its figures in short."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from benchmarks.corpora.installed import Recording
from benchmarks.corpora.measure import PLAIN, SETTINGS, WITH_BOTH, WITH_LINKS, Measured, Setting, measure
from benchmarks.corpora.mechanical import label_mechanically
from benchmarks.corpora.rules import shares
from benchmarks.corpora.traces import Catalogue, Deal, disagreements

BY_HAND: Final = "by hand"
BY_WORDS: Final = "by words"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Recorded tasks, and the catalogue that labels their tools by hand."""

    name: str
    recordings: Sequence[Recording]
    tools: Catalogue

    @property
    def problems(self) -> list[str]:
        """Where recordings and catalogue disagree."""
        return [f"{self.name}: {problem}" for problem in disagreements(self.tools, self.recordings)]

    def effective(self, setting: Setting) -> Setting:
        """Return the setting that has the same result. A corpus without a directory is measured without."""
        if any(item["directory"] for item in self.recordings if item["kind"] == "suite"):
            return setting
        same = (one for one in SETTINGS if one.contract == setting.contract and not one.directory)
        return setting if setting.links else next(same)


Results = Mapping[str, Mapping[str, Measured]]
"""Labelling → setting → what was measured."""


EVERYTHING: Final = (*((BY_HAND, setting) for setting in SETTINGS), (BY_WORDS, PLAIN), (BY_WORDS, WITH_BOTH))
EXTREMES: Final = ((BY_HAND, PLAIN), (BY_HAND, WITH_BOTH))
"""The least and the most that is said of a task, in a third of the time."""
LINKS: Final = ((BY_HAND, PLAIN), (BY_HAND, WITH_LINKS))
"""What following links changes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One corpus to measure with one set of labels under one setting, in a folder of its own."""

    corpus: Corpus
    name: str
    labels: Catalogue
    setting: Setting
    deal: Deal | None = None
    day: int | None = None

    def run(self, folder: Path) -> Measured:
        """Return the measurement. It needs a processor for some seconds, and no other process."""
        way = f" day of {self.day}" if self.deal is None else f" {self.deal.__name__}"
        scratch = folder / self.corpus.name / f"{self.name} {self.setting.name}{way}"
        scratch.mkdir(parents=True)
        return asyncio.run(
            measure(
                self.corpus.recordings,
                self.labels,
                scratch,
                self.setting,
                judge=self.corpus.tools,
                deal=self.deal,
                day=self.day,
            )
        )


def run_jobs(jobs: Sequence[Job], folder: Path, *, workers: int | None = None) -> list[Measured]:
    """Return the measurements of some jobs, in their order. Each of the `workers` is a process, by default one a processor."""
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count <= 1:
        return [job.run(folder) for job in jobs]
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        return [*pool.map(partial(_run, folder), jobs)]


def _run(folder: Path, job: Job) -> Measured:
    return job.run(folder)


def measure_corpora(
    corpora: Iterable[Corpus],
    folder: Path,
    planned: Sequence[tuple[str, Setting]] = EVERYTHING,
    *,
    workers: int | None = None,
) -> Mapping[str, Results]:
    """Return each corpus measured under labellings and settings, all of which include `PLAIN` by hand."""
    jobs: dict[tuple[str, str, Setting], Job] = {}
    found: dict[str, dict[str, dict[str, Measured]]] = {}
    wanted = [(corpus, labelling, setting) for corpus in corpora for labelling, setting in planned]
    for corpus, labelling, setting in wanted:
        needed = corpus.effective(setting)
        labels = corpus.tools if labelling == BY_HAND else label_mechanically(corpus.tools, corpus.recordings)
        jobs.setdefault((corpus.name, labelling, needed), Job(corpus, labelling, labels, needed))
    measured = dict(zip(jobs, run_jobs([*jobs.values()], folder, workers=workers), strict=True))
    for corpus, labelling, setting in wanted:
        result = measured[corpus.name, labelling, corpus.effective(setting)]
        found.setdefault(corpus.name, {}).setdefault(labelling, {})[setting.name] = result
    return found


def summary(results: Results) -> dict[str, Any]:
    """Return the figures for programs. `rules` is by hand, with the labels alone, and `rules_with_both` with both."""
    return {
        "figures": {
            labelling: {setting: figures(measured) for setting, measured in settings.items()}
            for labelling, settings in results.items()
        },
        "rules": [share.counts() for share in shares(results[BY_HAND][PLAIN.name])],
        "rules_with_both": [share.counts() for share in shares(results[BY_HAND][WITH_BOTH.name])],
    }


def figures(measured: Measured) -> dict[str, Any]:
    tasks = len(measured.benign)
    return {
        "attacks": len(measured.attacks),
        "stopped": len(measured.attacks) - len(measured.missed),
        "tasks": tasks,
        "tasks_gated": len(measured.gated),
        "questions": measured.questions,
        "questions_per_task": round(measured.questions / tasks, 3),
        "denials": measured.denials,
        "tasks_denied": measured.denied,
    }
