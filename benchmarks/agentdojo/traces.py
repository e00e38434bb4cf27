"""From recordings to traces in the format of docs/replay.md, with the labels of the catalogue. Pure but for `catalogue`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.agentdojo.package import Recording

AGENT: Final = "spiffe://bench/agent"

Catalogue = Mapping[str, Any]
"""Upstream → its audience, trust and tools, each tool with its labels, as in gateway.yaml."""


def catalogue() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8"))


def upstream_of(tools: Catalogue) -> dict[str, str]:
    """Tool → upstream. Raises `ValueError` for a tool that is in two of them."""
    found: dict[str, str] = {}
    for upstream, site in tools.items():
        for tool in site["tools"]:
            if tool in found:
                raise ValueError(f"{tool} is in {found[tool]} and in {upstream}")
            found[tool] = upstream
    return found


def unlabelled(tools: Catalogue, recordings: Iterable[Recording]) -> list[str]:
    """Where the catalogue and the package disagree: tools that one of them lacks, and roles of arguments that no tool
    has. Empty when all is well."""
    where = upstream_of(tools)
    arguments: dict[str, set[str]] = {}
    for item in recordings:
        if item["kind"] == "suite":
            for tool, names in item["tools"].items():
                arguments.setdefault(tool, set()).update(names)
    problems = [f"{tool} is not in the catalogue" for tool in sorted(arguments.keys() - where.keys())]
    problems += [f"{tool} is not in the package" for tool in sorted(where.keys() - arguments.keys())]
    for tool in sorted(arguments.keys() & where.keys()):
        roles = tools[where[tool]]["tools"][tool].get("roles", {})
        problems += [f"{tool} has no argument {role}" for role in roles if role.split("/")[1] not in arguments[tool]]
    return problems


def name_of(item: Recording) -> str:
    """The id of a trace: suite, user task and, for an attack, injection task."""
    return "/".join(item[part] for part in ("suite", "user", "injection") if part in item)


def trace(item: Recording, tools: Catalogue, where: Mapping[str, str]) -> dict[str, Any]:
    """One task as a trace: its goal is the user's prompt, and nothing is declared beside it. `steps` stand last, as
    the format wants."""
    used = sorted({where[step["tool"]] for step in item["steps"]})
    return {
        "id": name_of(item),
        "task": {"goal": item["goal"], "agent": AGENT},
        "upstreams": {upstream: tools[upstream] for upstream in used},
        "steps": [
            {"upstream": where[step["tool"]], **{key: step[key] for key in ("tool", "arguments", "result")}}
            for step in item["steps"]
        ],
    }


def consequential(tool: str, tools: Catalogue, where: Mapping[str, str]) -> bool:
    """Whether a call changes something, or sends something out."""
    labels = tools[where[tool]]["tools"][tool]
    return labels.get("effect", "write") != "read" or labels.get("egress", True)


def written(items: Iterable[Recording], tools: Catalogue, file: Path) -> None:
    """Write the traces of these recordings, one a line."""
    where = upstream_of(tools)
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(trace(item, tools, where)) + "\n" for item in items)


# --- other labels -----------------------------------------------------------------------------------


def _amounts(tools: dict[str, Any]) -> None:
    for tool in ("send_money", "schedule_transaction", "update_scheduled_transaction"):
        tools["bank"]["tools"][tool]["roles"]["/amount"] = "amount"


def _times(tools: dict[str, Any]) -> None:
    for tool in ("create_calendar_event", "reschedule_calendar_event"):
        roles = tools["calendar"]["tools"][tool]["roles"]
        roles.update({pointer: "selector" for pointer, role in roles.items() if role == "amount"})


def _pages(tools: dict[str, Any]) -> None:
    tools["web"]["tools"]["get_webpage"]["egress"] = False


def _trusting(tools: dict[str, Any]) -> None:
    tools["calendar"]["trust"] = tools["slack"]["trust"] = "trusted"


def _confidential(tools: dict[str, Any]) -> None:
    for upstream in ("mail", "calendar", "drive"):
        for labels in tools[upstream]["tools"].values():
            labels["sensitivity"] = "confidential"


VARIANTS: Final[Mapping[str, tuple[str, Callable[[dict[str, Any]], None]]]] = {
    "amounts": ("amounts of payments are labelled too", _amounts),
    "times": ("times of events are not labelled", _times),
    "pages": ("reading a web page is no egress", _pages),
    "confidential": ("mail, calendar and drive are confidential", _confidential),
    "trusting": ("calendar and Slack are trusted, free texts and all", _trusting),
}
"""What an operator might label otherwise: the report measures each."""


def varied(tools: Catalogue, change: Callable[[dict[str, Any]], None]) -> Catalogue:
    """The catalogue with one change."""
    # Through JSON, since YAML's anchors make one object of equal labels.
    changed: dict[str, Any] = json.loads(json.dumps(tools))
    change(changed)
    return changed
