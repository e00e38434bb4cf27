"""A child task is refused where it is wider than its parent, and gets what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.history.tasks.contract import Declaration
from gateway.history.tasks.narrowing import narrow
from gateway.model.decision import Reason
from gateway.model.task import Contract, Task

PARENT = Task(
    "parent",
    "declared",
    1000.0,
    2000.0,
    risk="medium",
    tenant="acme",
    environment="staging",
    contract=Contract(
        audiences=frozenset({"github", "mail"}),
        tools=("github/*", "mail/send"),
        destinations=("*@corp.example", "eve@partner.example"),
        credential_flows=(("vault", "github"),),
        limits={"calls": 10},
        effects={"destructive": ("github/delete_*",)},
    ),
)
FREE = Task("free", "declared", 1000.0, 2000.0)


def declare(**contract: Any) -> Declaration:
    return Declaration(contract=Contract(**contract))


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        (Declaration(risk="low"), "risk"),
        (Declaration(tenant="other"), "tenant"),
        (Declaration(environment="production"), "environment"),
        (declare(audiences=frozenset({"github", "slack"})), "contract.audiences"),
        (declare(tools=("*",)), "contract.tools"),
        (declare(tools=("github/read", "gitlab/read")), "contract.tools"),
        (declare(tools=("mail/send*",)), "contract.tools"),
        (declare(tools=("git*/read",)), "contract.tools"),
        (declare(destinations=("*@evil.example",)), "contract.destinations"),
        (declare(destinations=("*",)), "contract.destinations"),
        (declare(destinations=("*corp.example",)), "contract.destinations"),
        (declare(destinations=("eve@evil.example|*@corp.example",)), "contract.destinations"),
        (declare(destinations=("eve@evil.example,bob@corp.example",)), "contract.destinations"),
        (declare(destinations=("eve@evil.example、bob@corp.example",)), "contract.destinations"),
        (declare(credential_flows=(("github", "mail"),)), "contract.credential_flows"),
        (declare(limits={"calls": 11}), "contract.limits.calls"),
        (declare(effects={"destructive": ("github/*",)}), "contract.effects.destructive"),
        (declare(effects={"mint": ("github/delete_key",)}), "contract.effects.mint"),
    ],
)
def test_a_wider_child_is_refused_by_the_name_of_its_field(declared: Declaration, field: str):
    found = narrow(PARENT, declared)

    assert isinstance(found, Reason)
    assert found.code == "task/wider"
    assert f"its {field} goes beyond" in found.message


@pytest.mark.parametrize(
    "contract",
    [
        {"credential_flows": (("vault", "github"),)},
        {"effects": {"mint": ("github/create_key",)}},
    ],
)
def test_a_parent_without_a_contract_gives_no_flow_and_no_lasting_effect(contract: dict[str, Any]):
    assert isinstance(narrow(FREE, declare(**contract)), Reason)


def test_a_narrower_child_has_what_it_declares():
    declared = Declaration(
        risk="high",
        contract=Contract(
            audiences=frozenset({"github"}),
            tools=("github/read_*", "github/delete_branch"),
            destinations=("ana@corp.example", "a*@corp.example", "eve@partner.example"),
            credential_flows=(("vault", "github"),),
            limits={"calls": 3, "destinations": 2},
            effects={"destructive": ("github/delete_branch",)},
        ),
    )

    assert narrow(PARENT, declared) == replace(declared, tenant="acme", environment="staging")


def test_a_child_has_the_lists_and_limits_of_its_parent_but_neither_its_flows_nor_its_effects():
    assert PARENT.contract is not None
    inherited = replace(PARENT.contract, credential_flows=(), effects={})

    assert narrow(PARENT, Declaration()) == Declaration(
        contract=inherited, risk="medium", tenant="acme", environment="staging"
    )
    assert narrow(PARENT, declare()) == narrow(PARENT, Declaration())


def test_a_parent_that_narrows_nothing_leaves_its_child_free_to_narrow():
    declared = Declaration(risk="low", tenant="acme", contract=Contract(tools=("a/*",), limits={"calls": 5}))

    assert narrow(FREE, declared) == declared
    assert narrow(FREE, Declaration()) == Declaration()
