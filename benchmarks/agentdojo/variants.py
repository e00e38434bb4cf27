"""Labels that an operator might choose otherwise for AgentDojo's tools. The report measures each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from benchmarks.corpora.traces import Catalogue


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
"""Variant → its name for readers, and the change of the labels."""


def varied(tools: Catalogue, change: Callable[[dict[str, Any]], None]) -> Catalogue:
    """Return the catalogue with one change."""
    # Through JSON, since YAML's anchors make one object of equal labels.
    changed: dict[str, Any] = json.loads(json.dumps(tools))
    change(changed)
    return changed
