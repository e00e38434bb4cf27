"""The page of the rules: for each code its attacks, questions and denials on each corpus, and why it stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from benchmarks.corpora.corpus import BY_HAND, Results
from benchmarks.corpora.measure import PLAIN, WITH_LINKS, Measured
from benchmarks.corpora.report import gated, stopped, table
from benchmarks.corpora.rules import RuleShare, shares

REASONS: Final = Path(__file__).with_name("reasons.yaml")


def read_reasons() -> dict[str, str]:
    """Return why each rule stays, by code."""
    return yaml.safe_load(REASONS.read_text(encoding="utf-8"))


def rules_page(results: Mapping[str, Results], *, date: str, revision: str) -> str:
    """Return the page, as Markdown. `results` have labels by hand alone, with links followed and without."""
    reasons = read_reasons()
    found = {corpus: _shares(labellings[BY_HAND][PLAIN.name]) for corpus, labellings in results.items()}
    met = sorted({code for each in found.values() for code in each})
    tasks = {corpus: labellings[BY_HAND][PLAIN.name] for corpus, labellings in results.items()}
    rows = [(f"`{code}`", *(_cell(found[corpus].get(code)) for corpus in results), reasons[code]) for code in met]
    return "\n".join(
        [
            "# What each rule stops and costs",
            "",
            f"Measured on {date} with policy revision `{revision}`, labels by hand, without directory and contract.",
            "`python -m benchmarks.corpora --rules --write` writes this page.",
            "[Unfamiliar work](unfamiliar.md) describes the corpora. Each cell says, for a corpus:",
            "",
            "*attack pairs that the rule holds* (those that it **alone** holds) · *calls of benign tasks that it asks about*",
            "(questions fewer without it). Calls of benign tasks that it refuses follow, if there are any.",
            "",
            *table(
                ("rule", *(_head(corpus, measured) for corpus, measured in tasks.items()), "it stays, because"), rows
            ),
            "",
            "## Off by default",
            "",
            "`follow_links` lets a tool read a page that the user pointed at ([following a link](../policy/history.md#following-a-link)).",
            "It matters on AgentDojo only, so it is off.",
            "",
            *_links(results),
            "",
            "Soft limits on systems (`audiences`, `write_audiences`) are off too: see [where the limits come from](../policy/limits.md).",
            "",
            "## Rules that no benign task and no attack of the recordings meets",
            "",
            "They cost no question here. Each stays for a case that recordings do not have.",
            "",
            *table(
                ("rule", "it stays, because"), [(f"`{code}`", reasons[code]) for code in reasons if code not in met]
            ),
            "",
        ]
    )


def _shares(measured: Measured) -> dict[str, RuleShare]:
    return {share.rule: share for share in shares(measured) if not share.rule.endswith("/*")}


def _head(corpus: str, measured: Measured) -> str:
    return f"{corpus} ({len(measured.attacks)} pairs, {len(measured.benign)} tasks)"


def _cell(share: RuleShare | None) -> str:
    if share is None:
        return "–"
    refused = f" · {share.denials} refused" if share.denials else ""
    return f"{share.attacks} (**{share.attacks_alone}**) · {share.questions} ({share.questions_spared}){refused}"


def _links(results: Mapping[str, Results]) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for corpus, labellings in results.items():
        off, on = labellings[BY_HAND][PLAIN.name], labellings[BY_HAND][WITH_LINKS.name]
        rows.append((corpus, stopped(off), gated(off), stopped(on), gated(on)))
    return table(
        ("corpus", "off: attack pairs stopped", "off: tasks gated", "on: attack pairs stopped", "on: tasks gated"), rows
    )
