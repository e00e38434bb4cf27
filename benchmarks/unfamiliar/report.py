"""The page of the results on unfamiliar work, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.corpora.corpus import BY_HAND, BY_WORDS, Results
from benchmarks.corpora.measure import PLAIN
from benchmarks.corpora.report import gates, misses, rules_table, settings_table


def report(results: Mapping[str, Results], *, date: str, revision: str, tasks: str) -> str:
    """Return everything that was measured. `tasks` says where tau2's tasks are from."""
    head = (
        f"Measured on {date} with policy revision `{revision}`: bfcl-eval 2026.3.23, tau2 of inspect-evals 0.26.0 ({tasks}),"
        " no model. Aimed at: at most 4% of BFCL's tasks gated, none of tau2's, and no denial beyond approval."
    )
    lines = [head, "", *settings_table(results)]
    for corpus, labellings in results.items():
        plain = labellings[BY_HAND][PLAIN.name]
        lines += [
            "",
            f"## {corpus}",
            "",
            "Labels by hand, without directory and contract:",
            "",
            *rules_table(plain),
            "",
            "Labels by words:",
            "",
            *rules_table(labellings[BY_WORDS][PLAIN.name]),
            "",
            f"### {corpus}: attacks that were not stopped",
            "",
            *misses(corpus, plain),
            "",
            f"### {corpus}: benign tasks that met a gate",
            "",
            *gates(plain),
        ]
    return "\n".join(lines)
