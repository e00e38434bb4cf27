"""`python -m benchmarks.labels [--write]`: how often proposals agree with a person, on the lists of real servers.

The person's labels (by_hand.yaml) of a group were written before the proposals for the group were seen.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.labels.collect import read_lists
from gateway.model.target import Effect
from gateway.upstreams.labelling.library import propose_with_library
from gateway.upstreams.labelling.proposals import Proposal, propose_labels

_FOLDER: Final = Path(__file__).parent
PAGE: Final = _FOLDER.parents[1] / "docs/benchmarks/labels-results.md"
_STRENGTH: Final = list(Effect)


@dataclass(frozen=True, slots=True)
class Judged:
    """One tool: what a person said, and what was proposed."""

    group: str
    server: str
    tool: str
    effect: Effect
    egress: bool
    proposal: Proposal

    @property
    def wrong(self) -> int:
        """The number of labels of effect and egress that differ."""
        return (self.proposal.effect.value != self.effect) + (self.proposal.egress.value != self.egress)

    @property
    def is_weaker(self) -> bool:
        """Return whether the proposal guards the tool less than the person."""
        milder = _STRENGTH.index(self.proposal.effect.value) < _STRENGTH.index(self.effect)
        return milder or (self.egress and not self.proposal.egress.value)


def judge(*, with_library: bool) -> Iterator[Judged]:
    """Yield each tool that a person labelled."""
    hand: Mapping[str, Any] = yaml.safe_load((_FOLDER / "by_hand.yaml").read_text("utf-8"))
    servers = tomllib.loads((_FOLDER / "servers.toml").read_text("utf-8"))
    lists = read_lists()
    for group, labelled in hand.items():
        for server, labels in labelled.items():
            tools = lists[server]
            command = _without_extras(servers[server]["command"])
            found = propose_with_library(command, tools) if with_library else propose_labels(tools)
            for effect, names in labels.items():
                for name in names:
                    yield Judged(group, server, name, Effect(effect.rstrip("!")), effect.endswith("!"), found[name])


def _without_extras(command: list[str]) -> list[str]:
    """Return a command as an operator writes it, without an older SDK that a server needs on this machine."""
    at = command.index("--with") if "--with" in command else len(command)
    return command[:at] + command[at + 2 :]


def report() -> str:
    """Return the page of results."""
    alone, together = [*judge(with_library=False)], [*judge(with_library=True)]
    rows = [_row(group, alone, together) for group in dict.fromkeys(one.group for one in alone)]
    lines = [
        "# Labels: results",
        "",
        "`python -m benchmarks.labels --write` writes this page; [labels](labels.md) says what is measured.",
        "",
        "| group | servers | tools | effects and egresses right | weaker | with the library: right | weaker |",
        "|---|---|---|---|---|---|---|",
        *rows,
        _row("all", alone, together),
        "",
        "## Proposals that are weaker than the person's labels",
        "",
        *(_describe(one) for one in alone if one.is_weaker),
        "",
        "## Proposals that are otherwise wrong",
        "",
        *(_describe(one) for one in alone if one.wrong and not one.is_weaker),
        "",
    ]
    return "\n".join(lines)


def _row(group: str, alone: list[Judged], together: list[Judged]) -> str:
    mine = [one for one in alone if group in {one.group, "all"}]
    servers = {one.server for one in mine}
    known = [one for one in together if group in {one.group, "all"}]
    return f"| {group} | {len(servers)} | {len(mine)} | {_figures(mine)} | {_figures(known)} |"


def _figures(judged: list[Judged]) -> str:
    labels = 2 * len(judged)
    right = labels - sum(one.wrong for one in judged)
    return f"{right} of {labels} ({right / labels:.1%}) | {sum(one.is_weaker for one in judged)}"


def _describe(one: Judged) -> str:
    said, proposal = _write(one.effect, egress=one.egress), one.proposal
    proposed = _write(proposal.effect.value, egress=proposal.egress.value)
    return f"- {one.server}: `{one.tool}` is {said}, proposed {proposed}: {proposal.effect.because}; {proposal.egress.because}"


def _write(effect: Effect, *, egress: bool) -> str:
    return f"{effect.value}{' with egress' if egress else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    page = report()
    if parser.parse_args().write:
        PAGE.write_text(page, "utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
