"""Decisions and tasks on the console: what the journal has of them, paged and drawn."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gateway.model.wire import UpstreamRequest
from gateway.surfaces.console.decisions import make_filter, make_search
from gateway.surfaces.console.journals import JournalPlace, read_place
from tests.unit.approving import QUICK, approve
from tests.unit.harness import Back, call, result
from tests.unit.surfaces.console.visiting import Browser, headers_of, person, visited

TOKEN = "glpat-" + "Zk3vQ9wXy7Lm2Np8Rt4B"


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path, QUICK) as browser:
        yield browser


def viewer(browser: Browser) -> Browser:
    return browser.visit(person("vera", "viewer"))


async def page(browser: Browser, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status == 200, answer.body.decode()
    return answer.body.decode()


def rows(text: str) -> list[str]:
    return re.findall(r'class="badge (\w+)"', text)


async def made(browser: Browser) -> list[str]:
    """Make three calls: passed, refused, and held. Returns their ids."""
    for tool in ("read_file", "hidden", "ask_first"):
        await browser.there.ask(call(tool, path="a"))
    return [entry["id"] for entry in browser.there.entries("call")]


async def test_the_latest_decisions_come_first_and_can_be_filtered(stranger: Browser):
    await made(stranger)
    inside = viewer(stranger)

    assert rows(await page(inside, "/console/decisions")) == ["ask", "deny", "allow"]
    assert rows(await page(inside, "/console/decisions?effect=deny")) == ["deny"]
    assert rows(await page(inside, "/console/decisions?code=approval/grant")) == ["ask"]
    assert len(rows(await page(inside, "/console/decisions?agent=dev&upstream=files"))) == 3
    assert rows(await page(inside, "/console/decisions?agent=other")) == []
    assert "No decision fits" in await page(inside, "/console/decisions?upstream=%3Cscript%3E")


async def test_a_page_leads_to_the_earlier_ones(stranger: Browser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.surfaces.console.decisions._COUNT", 2)
    await made(stranger)
    inside = viewer(stranger)
    first = await page(inside, "/console/decisions")
    older = re.search(r'href="(/console/decisions\?before=[^"]+)"', first)
    assert older is not None
    second = await page(inside, older[1])

    assert (rows(first), rows(second)) == (["ask", "deny"], ["allow"])
    assert "data-events" in first
    assert "data-events" not in second


async def test_a_decision_tells_rule_grant_and_outcome(stranger: Browser):
    passed, refused, _ = await made(stranger)
    inside = viewer(stranger)
    link = re.search(rf'href="(/console/decisions/{refused}\?at=[^"]+)"', await page(inside, "/console/decisions"))
    assert link is not None
    by_place, by_search = await page(inside, link[1]), await page(inside, f"/console/decisions/{refused}")

    for text in (by_place, by_search):
        assert "tool/not-granted" in text
        assert re.search(r"gateway/denials/tool/tool\.rego:\d+", text)
        assert "it was not forwarded" in text
    assert "completed" in await page(inside, f"/console/decisions/{passed}")
    assert "holds" in await page(inside, f"/console/decisions/{passed}")


async def test_the_policy_page_counts_what_each_rule_asked_and_stopped(stranger: Browser):
    await made(stranger)
    text = await page(viewer(stranger), "/console/policy")

    assert "1 passed, 1 asked a person, and 1 were stopped" in text
    assert re.search(r"tool/not-granted.*?tool\.rego:\d+", text, re.DOTALL)
    assert 'href="/console/decisions?code=approval/grant"' in text


async def test_an_approved_call_names_its_approver(stranger: Browser):
    await stranger.there.ask(call("ask_first", path="a"))
    await approve(stranger.there)
    await stranger.there.ask(call("ask_first", path="a"))
    used = stranger.there.entries("call")[-1]["id"]

    assert "<bdi>bob</bdi> (https://idp.example, login)" in await page(viewer(stranger), f"/console/decisions/{used}")


async def test_only_viewers_see_decisions_and_tasks(stranger: Browser):
    identifier = (await made(stranger))[0]
    task = stranger.there.entries("call")[0]["task"]["id"]
    inside = stranger.visit(person("bob", "approver"))

    for path in ("/console/decisions", f"/console/decisions/{identifier}", f"/console/tasks/{task}"):
        assert (await inside.get(path)).status == 403
        assert (await stranger.get(path)).status == 303
    assert (await inside.get("/console/events/decisions")).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/console/decisions/none",
        "/console/decisions/none?at=1-0",
        "/console/decisions/none?at=99-5",
        "/console/tasks/none",
        "/console/tasks/none/graph.svg",
    ],
)
async def test_what_the_journal_lacks_is_told_in_a_sentence(stranger: Browser, path: str):
    await made(stranger)
    answer = await viewer(stranger).get(path)

    assert answer.status == 404
    assert b"part of the journal" in answer.body


@pytest.mark.parametrize(
    "query", ["before=x", "before=99999999-1", "before=1-1", "effect=none", "code=%00", "agent=%F0"]
)
async def test_no_query_is_a_defect(stranger: Browser, query: str):
    await made(stranger)

    assert (await viewer(stranger).get(f"/console/decisions?{query}")).status in {200, 503}


def leaks(request: UpstreamRequest) -> Back:
    return result(request, {"content": [{"type": "text", "text": f"GITLAB_TOKEN={TOKEN}"}]})


def drawn(text: str) -> ET.Element:
    svg = text[text.index("<svg") : text.index("</svg>") + len("</svg>")]
    return ET.fromstring(svg)


def classes(svg: ET.Element, name: str) -> list[str]:
    return [one.get("class", "") for one in svg.iter() if name in one.get("class", "").split()]


async def test_a_task_is_drawn_with_the_way_of_a_credential(stranger: Browser):
    stranger.there.upstream.script = leaks
    await stranger.there.ask(call("read_file", path="a"))
    await stranger.there.ask(call("read_more", path=TOKEN))
    entries = stranger.there.entries("call")
    task = entries[0]["task"]["id"]
    text = await page(viewer(stranger), f"/console/tasks/{task}?call={entries[1]['id']}")
    svg = drawn(text)

    assert len(classes(svg, "node")) == 2
    assert classes(svg, "credential") == ["edge credential lit"]
    assert TOKEN not in text
    assert "1 key" in text
    assert f'href="/console/decisions/{entries[0]["id"]}"' in text


async def test_the_graph_is_a_file_that_stands_alone(stranger: Browser):
    await made(stranger)
    task = stranger.there.entries("call")[0]["task"]["id"]
    answer = await viewer(stranger).get(f"/console/tasks/{task}/graph.svg")
    svg = ET.fromstring(answer.body.decode())

    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert b"<style>" in answer.body
    assert b"<a href" not in answer.body
    assert headers_of(answer, "content-disposition") == [f'attachment; filename="{task}.svg"']


async def test_hostile_names_in_a_graph_are_text(stranger: Browser):
    await stranger.there.ask(call("<script>alert(1)</script>\u202e", path="a"))
    entries = stranger.there.entries("call")
    text = await page(viewer(stranger), f"/console/tasks/{entries[0]['task']['id']}")

    assert "<script>alert" not in text
    assert "\u202e" not in text
    drawn(text)


async def test_two_hundred_calls_make_one_readable_graph(stranger: Browser):
    for number in range(200):
        await stranger.there.ask(call("read_file", path=str(number)))
    task = stranger.there.entries("call")[0]["task"]["id"]
    svg = drawn(await page(viewer(stranger), f"/console/tasks/{task}"))

    assert len(classes(svg, "node")) == 200
    assert float(svg.get("width", "0")) < 1200


@pytest.mark.parametrize(
    ("text", "place"),
    [("1-20", JournalPlace(1, 20)), ("", None), ("1", None), ("-1-2", None), ("1-2 ", None), ("٣-1", None)],
)
def test_a_place_in_an_address_is_read_strictly(text: str, place: Any):
    assert read_place(text) == place


def test_a_filter_fits_values_and_not_texts_that_contain_them():
    line = b'{"seq":1,"kind":"call","id":"x","effect":"allow","principal":{"id":"ann"},"target":{"upstream":"deny"}}'

    assert make_filter({"agent": "ann", "effect": "allow"})(line)
    assert not make_filter({"effect": "deny"})(line)
    assert not make_filter({"agent": "deny"})(line)
    assert not make_filter({})(b'{"seq":1,"kind":"settled","id":"x"}')


@pytest.mark.parametrize(
    "line", [b'{"kind":"call","id":1,"effect":2}', b'{"kind":"call","effect":"\xff"}', b'{"kind":"call"']
)
async def test_a_damaged_journal_is_a_sentence_on_every_page(stranger: Browser, line: bytes):
    (identifier, *_) = await made(stranger)
    task = stranger.there.entries("call")[0]["task"]["id"]
    (segment,) = (stranger.there.folder / "state/journal").glob("*.jsonl")
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(line + b"\n")
    inside = viewer(stranger)
    paths = ("decisions", "decisions?agent=dev", f"decisions/{identifier}", f"tasks/{task}", "policy")
    answers = [await inside.get(f"/console/{path}") for path in paths]
    # The writer looks at the size when it ends.
    os.truncate(segment, size)

    assert {answer.status for answer in answers} <= {200, 503}
    assert all(b"journal/unavailable" in answer.body for answer in answers if answer.status == 503)


async def test_each_page_says_that_policy_is_only_observed(tmp_path: Path):
    async with visited(tmp_path, f"{QUICK}\nenforce: false\nobserve_until: 2100-01-01T00:00:00Z\n") as browser:
        await made(browser)
        inside = viewer(browser)
        texts = [await page(inside, path) for path in ("/console", "/console/decisions", "/console/tools")]
        refused = browser.there.entries("call")[1]["id"]
        shown = await page(inside, f"/console/decisions/{refused}")

    assert all("Observe mode" in text and "until 2100-01-01T00:00:00Z" in text for text in texts)
    assert "By policy the call would be refused (tool/not-granted); observe mode let it pass." in shown
    assert texts[1].count(">observed</span>") == 2


@pytest.fixture
def _new_york(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "EST5EDT")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_new_york")
def test_a_day_begins_by_the_time_of_the_journal_and_not_of_the_machine():
    assert make_search({"since": "2026-01-02"}).hours == (490_920, 2**32)
    assert make_search({"since": "2026-01-02"}) == make_search({"since": "2026-01-02T00:00"})
