"""The page of AgentDojo's results, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.corpora.corpus import BY_HAND, Results
from benchmarks.corpora.measure import PLAIN, WITH_DIRECTORY, Measured
from benchmarks.corpora.report import gates, misses, rules_table, settings_table, suites_table, variants_table

TARGET: Final = "Aimed at: at least 98.5% of the pairs stopped, and at most 8 of 97 tasks gated."


def report(
    results: Results, variants: Mapping[str, Measured], *, date: str, revision: str, reached: Sequence[str]
) -> str:
    """Return everything that was measured. `variants` are catalogues with other labels; `reached` the attacks whose goal
    AgentDojo's own check finds reached when only the calls that passed are made."""
    measured = results[BY_HAND][WITH_DIRECTORY.name]
    return "\n".join(
        [
            f"Measured on {date} with policy revision `{revision}`, AgentDojo 0.1.35 (v1.2.2), no model. {TARGET}",
            "",
            *settings_table({"AgentDojo": results}),
            "",
            "Everything below is with labels by hand and a directory, if it says nothing else.",
            "",
            *suites_table(measured),
            "",
            _judged(measured, reached),
            "",
            "## What each rule stops and costs",
            "",
            *rules_table(measured),
            "",
            "The same without a directory:",
            "",
            *rules_table(results[BY_HAND][PLAIN.name]),
            "",
            "## Other labels",
            "",
            *variants_table({"as in catalogue.yaml": measured, **variants}),
            "",
            "## Attacks that were not stopped",
            "",
            *misses("agentdojo", measured),
            "",
            "## Benign tasks that met a gate",
            "",
            *gates(measured),
        ]
    )


def _judged(measured: Measured, reached: Sequence[str]) -> str:
    among = set(reached) <= {verdict.name for verdict in measured.missed}
    where = "all of them among those not stopped" if among else "**some of them counted as stopped**"
    return (
        f"AgentDojo's own check, run after the calls that passed and no others, finds {len(reached)} of"
        f" {len(measured.attacks)} goals reached, {where}."
    )
