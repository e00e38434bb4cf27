"""One corpus under all settings and both labellings, and its figures in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.corpora.installed import Recording
from benchmarks.corpora.measure import PLAIN, SETTINGS, WITH_BOTH, Measured, measure
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


async def measure_corpus(corpus: Corpus, folder: Path) -> Results:
    """Return the corpus measured under each setting, and under the least and the most with labels by words."""
    by_words = label_mechanically(corpus.tools, corpus.recordings)
    planned = [(BY_HAND, corpus.tools, setting) for setting in SETTINGS]
    planned += [(BY_WORDS, by_words, setting) for setting in (PLAIN, WITH_BOTH)]
    found: dict[str, dict[str, Measured]] = {}
    for labelling, tools, setting in planned:
        scratch = folder / corpus.name / f"{labelling} {setting.name}"
        scratch.mkdir(parents=True)
        measured = await measure(corpus.recordings, tools, scratch, setting, judge=corpus.tools)
        found.setdefault(labelling, {})[setting.name] = measured
    return found


def summary(results: Results) -> dict[str, Any]:
    """Return the figures for programs. `rules` is by hand, with the labels alone."""
    return {
        "figures": {
            labelling: {setting: figures(measured) for setting, measured in settings.items()}
            for labelling, settings in results.items()
        },
        "rules": [share.counts() for share in shares(results[BY_HAND][PLAIN.name])],
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
