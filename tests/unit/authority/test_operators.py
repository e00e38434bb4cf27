"""Operators on the socket of leases: who may speak, what is shown, and what a choice ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.leases import Lent
from gateway.authority.model import NotEnded
from gateway.authority.operators import LeaseOperators
from gateway.line_socket import Account
from gateway.operators import OperatorAccounts
from tests.unit.authority.lending import Lending

OWN = 1000


@pytest.fixture
async def lending(tmp_path: Path) -> Lending:
    lending = Lending(tmp_path)
    for number, task in enumerate(("t1", "t2")):
        assert isinstance(await lending.leases.lend("bao", lending.request(number, task=task)), Lent)
    return lending


async def ask(lending: Lending, uid: int = 0, **request: Any) -> Any:
    operators = LeaseOperators(lending.leases, OperatorAccounts(OWN))
    document, _ = await operators.answer(json.dumps(request).encode(), Account(uid, has_terminal=True))
    return document["ok"] if "ok" in document else document["error"]["code"]


@pytest.mark.parametrize(("uid", "is_heard"), [(OWN, False), (0, True), (1001, False), (65534, False)])
async def test_the_gateways_own_account_is_no_operator(lending: Lending, uid: int, *, is_heard: bool):
    found = await ask(lending, uid, do="list")

    assert (found != "lease/account") is is_heard


async def test_a_lease_is_shown_without_its_value_and_handle(lending: Lending):
    lending.broker.ends = [NotEnded("down")] * 100
    found = await ask(lending, do="show", id="l0")

    assert found["scope"] == ["read"]
    assert "secret-1" not in str(found)
    assert "handle" not in found
    assert await ask(lending, do="show", id="l9") == "lease/unknown"


@pytest.mark.parametrize(
    ("chosen", "ended"),
    [
        ({"all": True}, 2),
        ({"task": "t1"}, 1),
        ({"id": "l1"}, 1),
        ({"agent": "agent"}, 2),
        ({"agent": "agent", "task": "t2"}, 1),
        ({"agent": "other", "all": True}, 0),
        ({"user": "alice"}, 0),
        ({"broker": "bao"}, 2),
        ({"upstream": "mail"}, 0),
    ],
)
async def test_a_choice_ends_the_leases_that_fit_it(lending: Lending, chosen: dict[str, Any], ended: int):
    assert await ask(lending, do="revoke", chosen=chosen) == {"ended": ended}
    await lending.leases.drain(5.0)
    causes = [entry["cause"] for entry in lending.entries if entry["event"] == "ending"]
    assert causes.count("operator") == ended


@pytest.mark.parametrize(
    "request_",
    [{"do": "revoke"}, {"do": "revoke", "chosen": {}}, {"do": "revoke", "chosen": {"tasks": "t1"}}, {"do": "eat"}, {}],
)
async def test_a_request_without_a_choice_ends_nothing(lending: Lending, request_: dict[str, Any]):
    assert await ask(lending, **request_) == "lease/invalid"
    assert len(lending.leases.all()) == 2


async def test_only_a_lease_that_waits_for_its_end_is_abandoned_with_a_reason(lending: Lending):
    lending.broker.ends = [NotEnded("down")] * 100
    assert await ask(lending, do="abandon", id="l0", reason="gone") == "lease/unknown"
    await ask(lending, do="revoke", chosen={"id": "l0"})

    assert await ask(lending, do="abandon", id="l0", reason=" ") == "lease/invalid"
    assert (await ask(lending, do="abandon", id="l0", reason="gone"))["state"] == "abandoned"
    assert [lease.id for lease in lending.leases.all()] == ["l1"]
