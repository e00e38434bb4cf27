"""From recordings to traces in the format of docs/replay.md, with the labels of a catalogue. Pure but for `read_catalogue`
and `write_traces`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.corpora.installed import Recording

AGENT: Final = "spiffe://bench/agent"
_PERSON: Final = {"id": "person", "issuer": "https://idp.bench.example"}
"""A person who has read goal and contract, and approved the task before its first call."""

Catalogue = Mapping[str, Any]
"""Upstream → its audience, trust and tools, each tool with its labels, as in gateway.yaml."""


PERSON: Final = "user"
"""The user of a job that is dealt to several agents, where the recording names none."""
Deal = Callable[[int, str, Mapping[str, Any]], dict[str, str]]
"""Number of a step, its upstream and the labels of its tool → the fields of the trace for the caller of the step."""


def read_catalogue(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def upstream_of(tools: Catalogue) -> dict[str, str]:
    """Return tool → upstream. Raise `ValueError` for a tool that is in two of them."""
    found: dict[str, str] = {}
    for upstream, site in tools.items():
        for tool in site["tools"]:
            if tool in found:
                raise ValueError(f"{tool} is in {found[tool]} and in {upstream}")
            found[tool] = upstream
    return found


def disagreements(tools: Catalogue, recordings: Iterable[Recording]) -> list[str]:
    """Return the tools that the catalogue or the package lacks, and the roles of arguments that no tool has."""
    where = upstream_of(tools)
    arguments: dict[str, set[str]] = {}
    for item in recordings:
        if item["kind"] == "suite":
            for tool, described in item["tools"].items():
                arguments.setdefault(tool, set()).update(described["arguments"])
    problems = [f"{tool} is not in the catalogue" for tool in sorted(arguments.keys() - where.keys())]
    problems += [f"{tool} is not in the package" for tool in sorted(where.keys() - arguments.keys())]
    for tool in sorted(arguments.keys() & where.keys()):
        roles = tools[where[tool]]["tools"][tool].get("roles", {})
        problems += [f"{tool} has no argument {role}" for role in roles if role.split("/")[1] not in arguments[tool]]
    return problems


def name_of(item: Recording) -> str:
    """Return the id of a trace: suite, user task and, for an attack, injection task."""
    return "/".join(item[part] for part in ("suite", "user", "injection") if part in item)


def declare_contract(item: Recording, tools: Catalogue, where: Mapping[str, str]) -> dict[str, Any]:
    """Return the contract of a caller who knows which systems, tools and lasting effects the user's own task needs.

    No value of an argument is in it: a caller declares a task before anything is read.
    """
    used = {step["tool"] for step in item["steps"] if step["by"] == "user"}
    audiences = {tools[where[tool]]["audience"] for tool in used}
    written = {tools[where[tool]]["audience"] for tool in used if _labels(tool, tools, where)["effect"] != "read"}
    return {
        "audiences": sorted(audiences),
        "tools": sorted(f"{where[tool]}/{tool}" for tool in used),
        "limits": {
            "audiences": len(audiences),
            "audiences_in_window": len(audiences),
            "write_audiences": len(written),
        },
        "effects": {
            effect: sorted(f"{where[tool]}/{tool}" for tool in used if _labels(tool, tools, where)["effect"] == effect)
            for effect in ("destructive", "mint")
        },
    }


def make_trace(
    item: Recording,
    tools: Catalogue,
    where: Mapping[str, str],
    *,
    contract: Mapping[str, Any] | None = None,
    directory: Sequence[str] = (),
    deal: Deal | None = None,
) -> dict[str, Any]:
    """Return one task as a trace: its goal is the user's prompt. `steps` stand last, as the format wants. `deal` gives each step
    to one of several agents."""
    used = sorted({where[step["tool"]] for step in item["steps"]})
    user = {"user": item["as"]} if item.get("as") else {} if deal is None else {"user": PERSON}
    callers = [
        {} if deal is None else deal(number, where[step["tool"]], _labels(step["tool"], tools, where))
        for number, step in enumerate(item["steps"])
    ]
    declared = {} if contract is None else {"contract": contract, "approved_by": [_PERSON]}
    return {
        "id": name_of(item),
        "task": {"goal": item["goal"], "agent": AGENT, **user, **declared},
        "directory": [*directory],
        "upstreams": {upstream: tools[upstream] for upstream in used},
        "steps": [
            {"upstream": where[step["tool"]], **{key: step[key] for key in ("tool", "arguments", "result")}, **caller}
            for step, caller in zip(item["steps"], callers, strict=True)
        ],
    }


def is_consequential(tool: str, tools: Catalogue, where: Mapping[str, str]) -> bool:
    """Return whether a call changes something, or sends something out."""
    labels = _labels(tool, tools, where)
    return labels["effect"] != "read" or labels["egress"]


def write_traces(
    items: Iterable[Recording],
    tools: Catalogue,
    file: Path,
    *,
    contract: bool = False,
    directory: Sequence[str] = (),
    deal: Deal | None = None,
) -> None:
    """Write the traces of recordings, one a line, each with a declared contract if `contract` says so. `deal` is as in `make_trace`."""
    where = upstream_of(tools)
    with file.open("w", encoding="utf-8") as lines:
        for item in items:
            declared = declare_contract(item, tools, where) if contract else None
            lines.write(
                json.dumps(make_trace(item, tools, where, contract=declared, directory=directory, deal=deal)) + "\n"
            )


def _labels(tool: str, tools: Catalogue, where: Mapping[str, str]) -> dict[str, Any]:
    return {"effect": "write", "egress": True, **tools[where[tool]]["tools"][tool]}
