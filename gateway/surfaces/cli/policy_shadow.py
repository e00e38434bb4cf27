"""`opagate policy diff --since`: the recorded calls that the shadow policy decides otherwise."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import typer

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.options import chosen_journals, moment
from gateway.surfaces.cli.terminal import describe_count, emit, out, paint, plain, show, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Configuration

_EXAMPLES: Final = 3
_Verdict = tuple[str, tuple[str, ...]]


@dataclass
class _Changes:
    """The calls since a time, and their changes: the enforced and the other verdict, with the latest calls of each."""

    calls: int = 0
    counts: Counter[tuple[_Verdict, _Verdict]] = field(default_factory=Counter[tuple[_Verdict, _Verdict]])
    examples: dict[tuple[_Verdict, _Verdict], list[str]] = field(
        default_factory=dict[tuple[_Verdict, _Verdict], list[str]]
    )
    revisions: set[str] = field(default_factory=set[str])

    def add(self, entry: Mapping[str, Any]) -> None:
        change = _verdict(entry["enforced"]), _verdict(entry["shadow"])
        self.counts[change] += 1
        self.examples[change] = [str(entry["id"]), *self.examples.get(change, ())][:_EXAMPLES]
        self.revisions.add(str(entry["shadow"]["policy"]["revision"]))


def diff_since(settings: Configuration, since: str, *, as_json: bool) -> None:
    """Print the changes since a time. Exit status 1 if there is one. Raise `ConfigurationError` without a shadow policy."""
    found = _read_changes(settings, since)
    if settings.policy.shadow is None and not found.counts:
        raise ConfigurationError(
            "there is no shadow policy, and the journal has no difference of one",
            "name a folder in policy.shadow; it decides each call too, and counts for nothing",
        )
    if as_json:
        emit({"calls": found.calls, "revisions": sorted(found.revisions), "changes": _rows(found)})
    else:
        _show(found)
    if found.counts:
        raise typer.Exit(1)


def _read_changes(settings: Configuration, since: str) -> _Changes:
    from gateway.record.journal.chain import timestamp
    from gateway.record.journal.several import merge_entries

    first, found = timestamp(moment(since, now=time.time())), _Changes()
    for _, entry in merge_entries(chosen_journals(settings)):
        if str(entry["time"]) < first:
            continue
        if entry["kind"] == "call":
            found.calls += 1
        elif entry["kind"] == "shadow":
            found.add(cast("dict[str, Any]", entry))
    return found


def _verdict(recorded: Mapping[str, Any]) -> _Verdict:
    return str(recorded["effect"]), tuple(recorded["codes"])


def _rows(found: _Changes) -> list[dict[str, Any]]:
    return [
        {
            "enforced": {"effect": before[0], "codes": list(before[1])},
            "shadow": {"effect": after[0], "codes": list(after[1])},
            "calls": count,
            "examples": found.examples[before, after],
        }
        for (before, after), count in found.counts.most_common()
    ]


def _show(found: _Changes) -> None:
    rows = table("in force", "shadow", "calls", "for `opagate journal explain`")
    for (before, after), count in found.counts.most_common():
        rows.add_row(_describe(before), _describe(after), str(count), plain(" ".join(found.examples[before, after])))
    if found.counts:
        show(rows)
    changed = sum(found.counts.values())
    out.print(f"The shadow policy decides {changed} of {describe_count(found.calls, 'call')} otherwise.")
    if len(found.revisions) > 1:
        out.print(f"These are decisions of {len(found.revisions)} revisions of it.")


def _describe(verdict: _Verdict) -> Any:
    effect, codes = verdict
    return paint(effect, " ".join((effect, *codes)))
