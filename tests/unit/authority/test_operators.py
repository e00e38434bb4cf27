"""Operators and leases: what is shown, and what a choice ends."""

from pathlib import Path
from typing import Any

import pytest

from gateway.authority.leases import Lent
from gateway.authority.model import NotEnded
from gateway.authority.operators import add_operations
from tests.unit.authority.lending import Lending
from tests.unit.operating import new_control, perform


@pytest.fixture
async def lending(tmp_path: Path) -> Lending:
    lending = Lending(tmp_path)
    for number, task in enumerate(("t1", "t2")):
        assert isinstance(await lending.leases.lend("bao", lending.request(number, task=task)), Lent)
    return lending


async def ask(lending: Lending, do: str, **fields: Any) -> Any:
    control = new_control()
    add_operations(control, lending.leases, lending.fleet)
    return await perform(control, f"leases/{do}", **fields)


async def test_a_lease_is_shown_without_its_value_and_handle(lending: Lending):
    lending.broker.ends = [NotEnded("down")] * 100
    found = await ask(lending, "show", id="l0")

    assert found["scope"] == ["read"]
    assert "secret-1" not in str(found)
    assert "handle" not in found
    assert await ask(lending, "show", id="l9") == "lease/unknown"


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
    assert await ask(lending, "revoke", **chosen) == {"ended": ended}
    await lending.leases.drain(5.0)
    causes = [entry["cause"] for entry in lending.entries if entry["event"] == "ending"]
    assert causes.count("operator") == ended


@pytest.mark.parametrize(
    ("chosen", "code"), [({}, "lease/invalid"), ({"all": False}, "lease/invalid"), ({"tasks": "t1"}, "control/invalid")]
)
async def test_a_request_without_a_choice_ends_nothing(lending: Lending, chosen: dict[str, Any], code: str):
    assert await ask(lending, "revoke", **chosen) == code
    assert len(lending.leases.all()) == 2


async def test_only_a_lease_that_waits_for_its_end_is_abandoned_with_a_reason(lending: Lending):
    lending.broker.ends = [NotEnded("down")] * 100
    assert await ask(lending, "abandon", id="l0", reason="gone") == "lease/unknown"
    await ask(lending, "revoke", id="l0")

    assert await ask(lending, "abandon", id="l0", reason=" ") == "lease/invalid"
    assert (await ask(lending, "abandon", id="l0", reason="gone"))["state"] == "abandoned"
    assert [lease.id for lease in lending.leases.all()] == ["l1"]
