"""A list that passes again is not searched again, and never shows what a search of today would find."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.credentials.examples import example
from gateway.calls.response.conceal import WITHHELD, LiveConcealer
from gateway.calls.response.filter import MOST_ITEMS
from gateway.calls.response.recent_lists import LONGEST, RecentLists
from gateway.inspection.results import ResultInspector
from gateway.policy.policy import Policy
from gateway.wire.protocol import listing
from tests.unit.harness import Answer, Bench, bench, call, listed, message, result

LIVE = "Rk3vQ8-zL0pWm5xT_9cYb2Nd7uHs4Gj6"
CREDENTIAL = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"


def lists(there: Bench, **more: Any) -> None:
    """Have the upstream list two tools. `more` are further members of the result."""
    tools = [listed(name) for name in ("read_file", "hidden")]
    there.upstream.script = lambda request: result(request, {"tools": tools, **more})


async def shown(there: Bench, identifier: int = 7) -> Answer:
    return await there.ask(message("tools/list", identifier))


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the searches as they begin."""
    begun = list[str]()

    def note(place: Any, name: str) -> None:
        search = getattr(place, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            begun.append(name)
            return search(*arguments, **named)

        monkeypatch.setattr(place, name, noted)

    note(listing, "read_list")
    note(listing.Listing, "only")
    note(ResultInspector, "finish")
    note(LiveConcealer, "_conceal")
    return begun


async def test_a_list_that_passes_again_is_not_searched_again(there: Bench, searched: list[str]):
    lists(there)
    first = await shown(there)
    begun = sorted(searched)
    second = await shown(there)

    assert second.body == first.body
    assert begun == ["_conceal", "finish", "only", "read_list"]
    assert sorted(searched) == begun


async def test_a_list_of_very_many_items_is_not_kept_as_read(there: Bench):
    kept = there.gateway.pipeline.forwarder.parts.answers.lists
    for count in (MOST_ITEMS, MOST_ITEMS + 1):
        tools = [{"name": f"t{number}"} for number in range(count)]
        there.upstream.script = lambda request, tools=tools: result(request, {"tools": tools})
        await shown(there, 7)
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"tools": tools}}).encode()
        assert kept.find("reserved", body) is True
        assert (kept.find("page", body, "tools/list", int, 7) is None) is (count > MOST_ITEMS)


async def test_a_changed_list_is_searched_again(there: Bench, searched: list[str]):
    lists(there)
    await shown(there)
    lists(there, note="Reads.")
    await shown(there)
    assert sorted(searched) == sorted(["_conceal", "finish", "only", "read_list"] * 2)


async def test_a_value_that_becomes_live_is_concealed_in_a_known_list(there: Bench):
    lists(there, note=f"Send {LIVE} along.")
    for _ in range(2):
        assert LIVE in (await shown(there)).body.decode()
    there.gateway.live.hold("lease-1", [LIVE], "crm")
    for _ in range(2):
        answer = (await shown(there)).body.decode()
        assert LIVE not in answer
        assert WITHHELD in answer


async def test_a_list_with_a_credential_is_searched_each_time(there: Bench, searched: list[str]):
    lists(there, note=f"The key is {CREDENTIAL}.")
    for _ in range(2):
        await shown(there)

    assert searched.count("finish") == 2
    assert CREDENTIAL not in str(there.entries("observed"))
    assert len(there.entries("observed")) >= 1


async def test_a_list_under_a_suppression_is_searched_each_time(tmp_path: Path, searched: list[str]):
    rule = "{upstream: files, detector: github-pat, until: 2999-12-31, reason: made up}"
    async with bench(tmp_path, more=f"inspection: {{suppressions: [{rule}]}}\n") as there:
        lists(there, note=f"The key is {example('ghp_{w:30}{crc62}', Random(1))}.")
        for _ in range(2):
            await shown(there)

        assert searched.count("finish") == 2
        assert there.entries("observed") == []


async def test_a_reserved_name_in_a_known_list_is_taken_out_each_time(there: Bench):
    lists(there, **{"io.opagate/decision": "allow"})
    for _ in range(2):
        assert b"io.opagate" not in (await shown(there)).body


async def test_a_known_list_under_another_policy_is_filtered_anew(there: Bench, monkeypatch: pytest.MonkeyPatch):
    lists(there)
    assert b"read_file" in (await shown(there)).body

    async def none(*_: Any) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(there.gateway.policy, "visible", none)
    monkeypatch.setattr(Policy, "in_force", object())
    assert b"read_file" not in (await shown(there)).body


async def test_the_answer_to_another_id_is_not_taken_for_the_known_one(there: Bench):
    lists(there)
    assert [(await shown(there, number)).json["id"] for number in (1, 2, 1)] == [1, 2, 1]


def test_a_finding_is_kept_under_its_text_and_all_its_causes():
    found = RecentLists()
    found.keep("live", b"text", 3)

    assert found.find("live", b"text", 3) is True
    for about, text, causes in (
        ("live", b"text", (4,)),
        ("live", b"text", ()),
        ("live", b"texts", (3,)),
        ("page", b"text", (3,)),
    ):
        assert found.find(about, text, *causes) is None


def test_the_oldest_findings_make_room_and_long_texts_are_not_kept():
    found = RecentLists(most=2)
    for text in (b"one", b"two", b"one", b"three"):
        found.keep("live", text)
    found.keep("live", bytes(LONGEST + 1))

    assert len(found) == 2
    assert [found.find("live", text) for text in (b"one", b"two", b"three")] == [True, None, True]


async def test_an_answer_that_is_no_list_leaves_no_finding(there: Bench):
    there.upstream.script = lambda request: result(request, {"content": []})
    await there.ask(call())

    assert len(there.gateway.pipeline.forwarder.parts.answers.lists) == 0
