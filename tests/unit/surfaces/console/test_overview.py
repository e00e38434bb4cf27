"""The overview: the last day in charts, what to look at, and what each role sees of it."""

from __future__ import annotations

from pathlib import Path

from gateway.record.journal.columns import ALLOWED, ASKED, DENIED
from gateway.surfaces.console.overview import draw
from tests.unit.harness import call
from tests.unit.surfaces.console.visiting import person, visited


def test_the_largest_hour_fills_the_chart_and_a_single_decision_is_seen():
    hours = {(100, DENIED): 4_000, (103, DENIED): 1, (104, ASKED): 9}
    chart = draw("Refused", "deny", hours, frozenset({DENIED}), 100)

    assert [(bar.x, bar.y, bar.height, bar.count) for bar in chart.bars if bar.count] == [
        (0, 0, 48, 4_000),
        (30, 46, 2, 1),
    ]
    assert (chart.total, len(chart.bars)) == (4_001, 24)
    assert chart.words == "Refused: 4001 in 24 hours, most of them (4000) from 04:00 UTC on"


def test_a_day_without_calls_has_empty_charts():
    chart = draw("Allowed", "allow", {}, frozenset({ALLOWED}), 100)

    assert (chart.words, {bar.height for bar in chart.bars}) == ("Allowed: 0 in 24 hours", {0})


async def test_viewers_see_the_calls_of_the_day(tmp_path: Path):
    async with visited(tmp_path) as stranger:
        await stranger.there.ask(call())
        await stranger.there.ask(call("nobody_granted_this"))
        page = (await stranger.visit(person("vera", "viewer")).get("/console")).body.decode()
        outsider = (await stranger.visit(person("ann", "approver")).get("/console")).body.decode()

    assert 'aria-label="Allowed: 1 in 24 hours, most of them (1)' in page
    assert 'href="/console/decisions?code=' in page
    assert "The last 24 hours" not in outsider


async def test_leases_without_a_broker_are_a_page_that_says_what_to_set(tmp_path: Path):
    async with visited(tmp_path) as stranger:
        inside = stranger.visit(person("olga", "operator"))
        page = (await inside.get("/console/leases")).body.decode()
        ended = await inside.send("/console/leases/end", by="all", reason="an incident")

    assert "No upstream has a lent credential" in page
    assert "Kill switch" not in page
    assert ended.status == 405
