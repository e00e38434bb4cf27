"""The present totals of declared facts, as an operator asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway import config
from gateway.history.declared.marks import FactReader
from gateway.surfaces.app import facts
from tests.unit.history.declared.counting import REFUND, Run, book, caller, target
from tests.unit.operating import new_control, perform

if TYPE_CHECKING:
    from gateway.base.control.operations import Control

FACTS = """
spent: {sum: /arguments/amount, by: [user, tool], within: 1d}
calls: {count: calls, by: party, within: 1d}
latest: {last: time, by: agent, within: 1d}
all: {count: calls, by: tool, within: 1h}
at: {count: calls, by: tenant, within: 1h}
here: {count: calls, by: task}
"""
IDENTITY = "identity: [{kind: jwt, issuer: https://idp.example, audience: gateway}]\n"


def asked_of(run: Run, folder: Path) -> Control:
    """A gateway's operations, with those about facts."""
    control, configuration = new_control(), config.parse(IDENTITY, base=folder)
    reader = run.history.ledger.declared
    assert isinstance(reader, FactReader)
    facts.add_operations(control, configuration, run.history, reader, lambda: run.now)
    return control


async def totals(control: Control, **fields: str) -> dict[str, tuple[int, object]]:
    found = await perform(control, "facts/totals", **fields)
    return {each["name"]: (each["keys"], each["largest"]) for each in found}


async def test_each_party_has_the_totals_that_its_rules_will_count(tmp_path: Path):
    run = Run(book(FACTS))
    control = asked_of(run, tmp_path)
    run.call({"amount": 70})
    run.call({"amount": 5}, to=target("credit"))
    run.call({"amount": 7}, who=caller("robot", None))
    _, open_call = run.begin({"amount": 30})

    assert open_call.values["spent"] == 100
    assert await totals(control, user="ada") == {"spent": (2, 100), "calls": (1, 3)}
    assert await totals(control, user=" ADA ") == await totals(control, user="ada"), (
        "a user is one person in each spelling"
    )
    assert await totals(control, agent="robot") == {"latest": (1, "1970-01-12T13:46:40Z"), "calls": (1, 1)}
    assert (await totals(control, agent="agent")).keys() == {"latest"}, "calls for a user are the user's"
    assert await totals(control, tenant="acme") == {"at": (1, 4)}
    assert await totals(control) == {"all": (2, 3)}
    for other in ({"user": "bob"}, {"agent": "ada"}, {"user": "ada", "issuer": "https://other.example"}):
        assert await totals(control, **other) == {}, other


async def test_totals_slide_with_their_window_and_tell_what_they_lack(tmp_path: Path):
    run = Run(book(FACTS))
    control = asked_of(run, tmp_path)
    run.call({"amount": 70})
    run.call({"amount": "seventy"}, to=REFUND)
    found = {each["name"]: each["is_incomplete"] for each in await perform(control, "facts/totals", user="ada")}
    assert found == {"spent": True, "calls": False}

    run.now += 2 * 86400
    assert await totals(control, user="ada") == {}


async def test_one_question_is_about_one_party(tmp_path: Path):
    control = asked_of(Run(book(FACTS)), tmp_path)

    assert await perform(control, "facts/totals", user="ada", agent="robot") == "control/invalid"
