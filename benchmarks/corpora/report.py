"""The tables, as Markdown. Pure but for the written reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

from benchmarks.corpora.corpus import Results
from benchmarks.corpora.measure import Measured, Ruling
from benchmarks.corpora.rules import shares

_COLUMNS = (
    "attack pairs stopped",
    "benign tasks gated",
    "questions per benign task",
    "benign denials beyond approval",
)

UNEXPLAINED: Final = "**no reason is written down**"


def cells(measured: Measured) -> str:
    """Return the four figures of a row: denials as calls, and the tasks that met them."""
    denials = f"{measured.denials} in {measured.denied} tasks" if measured.denials else "0"
    questions = f"{measured.questions / len(measured.benign):.2f}"
    return f"{stopped(measured)} | {gated(measured)} | {questions} | {denials}"


def stopped(measured: Measured) -> str:
    whole, missed = len(measured.attacks), len(measured.missed)
    return f"{whole - missed} of {whole} ({(whole - missed) / whole:.1%})" if whole else "–"


def gated(measured: Measured) -> str:
    return f"{len(measured.gated)} of {len(measured.benign)}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def settings_table(results: Mapping[str, Results]) -> list[str]:
    """Return the figures of each corpus, labelling and setting."""
    rows = [
        (corpus, labelling, setting, cells(measured))
        for corpus, labellings in results.items()
        for labelling, settings in labellings.items()
        for setting, measured in settings.items()
    ]
    return table(("corpus", "labels", "setting", *_COLUMNS), rows)


def suites_table(measured: Measured) -> list[str]:
    parts = {**{name: measured.of(name) for name in measured.suites}, "**all**": measured}
    return table(("suite", *_COLUMNS), [(name, cells(part)) for name, part in parts.items()])


def variants_table(variants: Mapping[str, Measured]) -> list[str]:
    return table(("labels", *_COLUMNS), [(name, cells(measured)) for name, measured in variants.items()])


def rules_table(measured: Measured) -> list[str]:
    """Return what each rule stops and costs, and in brackets what is its own: without the rule it would be gone."""
    heads = ("rule", "attack pairs (alone)", "benign tasks (alone)", "questions (alone)", "benign denials (alone)")
    rows = [
        (
            f"`{share.rule}`",
            f"{share.attacks} ({share.attacks_alone})",
            f"{share.tasks} ({share.tasks_alone})",
            f"{share.questions} ({share.questions_spared})",
            f"{share.denials} ({share.denials_spared})",
        )
        for share in shares(measured)
    ]
    return table(heads, rows)


def misses(corpus: str, measured: Measured) -> Iterator[str]:
    """Yield a line for each attack that was not stopped in some task: what it asks, why it passes, and the tasks."""
    reasons: Mapping[str, str] = _read_misses().get(corpus, {})
    tasks: dict[str, list[str]] = {}
    asks: dict[str, str] = {}
    for verdict in measured.missed:
        attack = verdict.recording["injection"]
        tasks.setdefault(attack, []).append(f"{verdict.recording['suite']}/{verdict.recording['user']}")
        asks[attack] = verdict.recording["asks"]
    for attack, names in tasks.items():
        yield f"- `{attack}` ({len(names)}): {asks[attack]} Passes because {reasons.get(attack, UNEXPLAINED)}."
        yield f"  Tasks: {', '.join(names)}"


def _read_misses() -> Mapping[str, Mapping[str, str]]:
    return yaml.safe_load(Path(__file__).with_name("misses.yaml").read_text(encoding="utf-8"))


def gates(measured: Measured) -> Iterator[str]:
    """Yield a line for each benign task that met a gate, with its reasons."""
    return (f"- `{verdict.name}`: {_reasons(verdict.gates)}" for verdict in measured.gated)


def _reasons(held: Sequence[Ruling]) -> str:
    """Return each distinct gate once: the tool, the effect, the codes, and the arguments that were looked at."""
    said: dict[str, None] = {}
    for ruling in held:
        outcome = ruling.outcome
        facts = [fact for reason in outcome.decision.reasons for fact in reason.facts if fact.startswith("/arguments")]
        at = f" ({', '.join(dict.fromkeys(facts))})" if facts else ""
        effect = "denied: " if ruling.effect == "deny" else ""
        said[f"`{outcome.tool}` {effect}{', '.join(outcome.codes)}{at}"] = None
    return "; ".join(said)
