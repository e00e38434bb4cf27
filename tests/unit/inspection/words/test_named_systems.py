"""Which systems of a call the goal or the contract of its task names."""

from __future__ import annotations

import pytest

from gateway.inspection.words.declared import find_named_systems
from gateway.inspection.words.grounds import grounds
from gateway.model.target import Target
from gateway.model.task import Contract

DESK = Target(
    "tool", "helpdesk-eu", "reply", "https://desk.example/api", aliases=("ticket system",), aggregates=("crm", "mails")
)
OWN = "https://desk.example/api"


def named(goal: str | None = None, contract: Contract | None = None) -> set[str]:
    return set(find_named_systems(DESK, contract, grounds(goal, None)))


@pytest.mark.parametrize(
    ("goal", "systems"),
    [
        ("Reply in the ticket system", {OWN}),
        ("Compare both Ticket Systems", {OWN}),
        ("Reply in helpdesk-eu", {OWN}),
        ("Reply at https://desk.example/api", {OWN}),
        ("Look into the CRM", {"crm"}),
        ("Write a mail and note it in the CRM", {"crm", "mails"}),
        ("Read crm.example.com and the system of tickets", set[str]()),
        ("Reply in the helpdesk", set[str]()),
        (None, set[str]()),
    ],
)
def test_a_goal_names_systems_by_audience_upstream_or_alias(goal: str | None, systems: set[str]):
    assert named(goal) == systems


@pytest.mark.parametrize(
    ("contract", "systems"),
    [
        (Contract(audiences=frozenset({"crm", OWN})), {"crm", OWN}),
        (Contract(tools=("helpdesk-eu/reply",)), {OWN}),
        (Contract(tools=("helpdesk-eu/*",)), {OWN}),
        (Contract(effects={"destructive": ("helpdesk-eu/close",)}), {OWN}),
        (Contract(tools=("*", "*/reply", "helpdesk/reply", "crm/note")), set[str]()),
        (Contract(audiences=frozenset()), set[str]()),
    ],
)
def test_a_contract_names_systems_by_audience_or_by_a_tool_of_the_upstream(contract: Contract, systems: set[str]):
    assert named("Reply", contract) == systems
