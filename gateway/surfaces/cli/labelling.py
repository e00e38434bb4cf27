"""`opagate catalogue label`: labels proposed for the tools of upstreams, with reasons, beside the labels that they have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.model.target import Pin, Role
from gateway.surfaces.cli import labels_file, loop
from gateway.surfaces.cli.catalogue import UpstreamArgument, open_catalogue, require_listed, select_upstream
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, configuration_path
from gateway.surfaces.cli.terminal import describe_count, emit, err, note, out, paint, say
from gateway.upstreams.catalogue.overlaps import is_pattern

if TYPE_CHECKING:
    from gateway.config import Configuration, Upstream
    from gateway.model.target import Target
    from gateway.surfaces.cli.labels_file import Labels
    from gateway.upstreams.labelling.proposals import Proposal


_PLAIN_ROLES: Final = frozenset({Role.SELECTOR, Role.CONTENT})
"""Roles that need no reason."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The proposal for one listed tool beside its labels.

    `added` has the fields to write. `kept` maps a field of a person to the other value that is proposed. `refusal` says why
    nothing can be written; empty if something can.
    """

    target: Target
    proposal: Proposal
    added: Labels
    kept: Mapping[str, str]
    refusal: str = ""

    @property
    def is_writable(self) -> bool:
        """Return whether a label can be written."""
        return bool(self.added) and not self.refusal

    @property
    def is_settled(self) -> bool:
        """Return whether the tool has all labels, as proposed."""
        return not (self.added or self.kept)


def label(
    upstream: UpstreamArgument = None,
    write: Annotated[bool, typer.Option("--write", help="Write the labels into the labels file.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Propose also in the place of labels that the labels file has.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose labels for tools, and say why: from a reviewed library, annotations, schemas, names and descriptions.

    A `+` is a proposal for a missing label. A `=` is your label, and stays. A `!` is a contradiction of the server: look there first.

    --write adds the missing labels to the labels file, which keeps its comments. Without a setting `labels`, it makes labels.yaml.

    An upstream's words are advice: read what is proposed. Trust of an upstream is never proposed.
    """
    settings = select_upstream(configuration(config, secrets=True), upstream)
    found, problems = loop.run(suggest(settings, replace=replace))
    if as_json:
        emit({"tools": [_as_json(one) for one in found], "problems": problems})
    else:
        _show_all(found)
    if write:
        write_suggestions(configuration_path(config), settings, found, replace=replace)
    elif not as_json and any(one.is_writable for one in found):
        note("Nothing is written. Add --write to write what has a +.")
    require_listed(problems)


async def suggest(settings: Configuration, *, replace: bool) -> tuple[list[Suggestion], dict[str, str]]:
    """Return a suggestion for each listed tool, and the problems of upstreams that list none."""
    from gateway.upstreams.catalogue.pins import Definition
    from gateway.upstreams.labelling.library import propose_with_library

    in_file = labels_file.list_fields(settings.labels)
    async with open_catalogue(settings) as there:
        found: list[Suggestion] = []
        for name, upstream in settings.upstreams.items():
            seen = there.catalogue.definitions[name]["tool"].seen
            documents = [each.document for each in seen.values() if isinstance(each, Definition)]
            for tool, proposal in propose_with_library(upstream.command, documents).items():
                labelled = in_file.get(name, {})
                replaced = labelled.get(tool, frozenset()) if replace else frozenset[str]()
                target = there.catalogue.target(name, "tool", tool)
                found.append(_compare(target, proposal, replaced, _refusal(target, upstream, labelled)))
        return found, there.problems()


def _compare(target: Target, proposal: Proposal, replaced: Collection[str], refusal: str) -> Suggestion:
    """Return a proposal beside the labels of a tool. `replaced` are fields that may change."""
    labels = target.labels
    has: dict[str, Any] = {"effect": labels.effect, "egress": labels.egress, "sensitivity": labels.sensitivity}
    added: dict[str, Any] = {}
    kept: dict[str, str] = {}
    for field, proposed in proposal.fields.items():
        if field in labels.assumed or (field in replaced and proposed.value != has[field]):
            added[field] = str(proposed.value) if isinstance(proposed.value, str) else proposed.value
        elif proposed.value != has[field]:
            kept[field] = _as_yaml(has[field])
    if proposal.roles and not labels.cases and (not labels.roles or "roles" in replaced):
        roles = {pointer: one.role for pointer, one in proposal.roles.items() if labels_file.is_writable(pointer)}
        if roles and roles != labels.roles:
            added["roles"] = {pointer: str(role) for pointer, role in roles.items()}
    if proposal.effect_key and not labels.effect_key and not labels.cases:
        added["effect_key"] = list(proposal.effect_key)
    return Suggestion(target, proposal, added, kept, refusal)


def _refusal(target: Target, upstream: Upstream, in_file: Collection[str]) -> str:
    """Return why no label of a tool can be written; empty if one can."""
    tool = target.name
    if target.pin is Pin.CHANGED:
        return "its definition is not the pinned one: look at `opagate catalogue diff` first"
    if is_pattern(tool):
        return "its name has a wildcard, so labels for it would hold for other tools too"
    if not labels_file.is_writable(tool):
        return "its name is long, or has hidden characters: have its server mended"
    if tool in upstream.tools and tool not in in_file:
        return "gateway.yaml labels this tool: add the fields there"
    return ""


def write_suggestions(path: Path, settings: Configuration, found: Sequence[Suggestion], *, replace: bool) -> None:
    """Write the proposals into the labels file, and name the file in the configuration. Raise `ConfigurationError`."""
    added: dict[str, dict[str, Labels]] = {}
    for one in found:
        if one.is_writable:
            added.setdefault(one.target.upstream, {})[one.target.name] = one.added
    if not added:
        out.print(paint("ok", "ok: nothing to write"))
        return
    labels = labels_file.write_labels(path, settings.labels, added, replace=replace)
    count = describe_count(sum(map(len, added.values())), "tool")
    err.print(f"wrote labels of {count} to {labels}", style="green", markup=False)
    note("Read them before you rely on them: an upstream's words are advice.")


# --- for people and programs -------------------------------------------------------------------------


def _show_all(found: Sequence[Suggestion]) -> None:
    for one in found:
        if not one.is_settled:
            _show(one)
    if settled := sum(one.is_settled for one in found):
        say(f"labelled as proposed: {describe_count(settled, 'tool')}", style="green")


def _show(one: Suggestion) -> None:
    say(one.target.id, style="bold")
    if one.proposal.doubt:
        say(f"  ! {one.proposal.doubt}", style="red")
    if one.refusal and one.added:
        say(f"  ! {one.refusal}", style="red")
    for row, style in _rows(one):
        say(f"  {row}", style=style)


def _rows(one: Suggestion) -> Iterator[tuple[str, str]]:
    """Yield each label with its mark, and the style of the row."""
    proposal = one.proposal
    for field, proposed in proposal.fields.items():
        if field in one.added:
            yield f"+ {field}: {_as_yaml(one.added[field])}  ({proposed.because})", "green"
        elif field in one.kept:
            yield (
                f"= {field}: {one.kept[field]} is yours; proposed: {_as_yaml(proposed.value)}  ({proposed.because})",
                "yellow",
            )
    if key := one.added.get("effect_key"):
        yield f"+ effect_key: [{', '.join(key)}]  (a required argument is an idempotency key)", "green"
    if roles := one.added.get("roles"):
        yield f"+ roles: {', '.join(f'{pointer} {role}' for pointer, role in roles.items())}", "green"
    for pointer, found in proposal.roles.items():
        if pointer in one.added.get("roles", {}) and found.role not in _PLAIN_ROLES:
            yield f"    {pointer} is a {found.role}: {found.because}", "dim"


def _as_yaml(value: object) -> str:
    return str(value).lower()


def _as_json(one: Suggestion) -> dict[str, Any]:
    proposal = one.proposal
    return {
        "id": one.target.id,
        "upstream": one.target.upstream,
        "tool": one.target.name,
        "proposed": {field: {"value": each.value, "because": each.because} for field, each in proposal.fields.items()},
        "roles": {pointer: {"value": each.role, "because": each.because} for pointer, each in proposal.roles.items()},
        "doubt": proposal.doubt or None,
        "added": dict(one.added),
        "kept": dict(one.kept),
        "refusal": one.refusal or None,
    }
