"""One corpus under all settings and both labellings, and its figures in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.corpora.installed import Recording
from benchmarks.corpora.measure import PLAIN, SETTINGS, WITH_BOTH, Measured, Setting, measure
from benchmarks.corpora.mechanical import label_mechanically
from benchmarks.corpora.rules import shares
from benchmarks.corpora.traces import Catalogue, disagreements

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


Results = Mapping[str, Mapping[str, Measured]]
"""Labelling → setting → what was measured."""


EVERYTHING: Final = (*((BY_HAND, setting) for setting in SETTINGS), (BY_WORDS, PLAIN), (BY_WORDS, WITH_BOTH))
EXTREMES: Final = ((BY_HAND, PLAIN), (BY_HAND, WITH_BOTH))
"""The least and the most that is said of a task, in a third of the time."""


async def measure_corpus(corpus: Corpus, folder: Path, planned: Sequence[tuple[str, Setting]] = EVERYTHING) -> Results:
    """Return the corpus measured under labellings and settings, all of which include `PLAIN` by hand."""
    labels = {BY_HAND: corpus.tools, BY_WORDS: label_mechanically(corpus.tools, corpus.recordings)}
    found: dict[str, dict[str, Measured]] = {}
    for labelling, setting in planned:
        scratch = folder / corpus.name / f"{labelling} {setting.name}"
        scratch.mkdir(parents=True)
        measured = await measure(corpus.recordings, labels[labelling], scratch, setting, judge=corpus.tools)
        found.setdefault(labelling, {})[setting.name] = measured
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
