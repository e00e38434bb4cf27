"""What is recorded, counted and logged of a refusal, and what a failure says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.calls.pipeline.refuse import refuse_failure
from gateway.model.decision import Reason, Refusal
from gateway.model.error_codes import INVALID_REQUEST
from gateway.model.errors import UpstreamBroken, UpstreamUnreachable
from gateway.wire.http.edge import RefusedClient
from tests.requirements import requirement
from tests.unit.harness import Upstream, bench, call


@requirement("strangers/told")
async def test_refusals_of_callers_that_nobody_knows_do_not_fill_the_journal_and_are_all_counted(tmp_path: Path):
    stranger = (b"authorization", b"Bearer nobody")
    async with bench(tmp_path, more="journal: {refusals: 2}\n") as there:
        for _ in range(5):
            assert (await there.ask(call(), stranger)).status == 401
        assert (await there.ask(b"{")).status == 400
        counted = there.gateway.metrics.exposition().decode()

    codes = [entry["reasons"][0]["code"] for entry in there.entries("refused")]
    (flood,) = there.entries("flood")
    assert codes == ["identity/malformed", "identity/malformed", "request/json"], "a known caller's is recorded"
    assert (flood["count"], flood["codes"]) == (3, {"identity/malformed": 3})
    assert 'opagate_refusals_total{code="identity/malformed"} 5.0' in counted


async def test_after_a_flood_its_rest_comes_before_the_next_refusal(tmp_path: Path):
    now = 1_800_000_000.0
    async with bench(tmp_path, more="journal: {refusals: 1}\n") as there:
        there.gateway.flood._clock = lambda: now  # the flood's own minute, and no other clock
        for _ in range(3):
            await there.ask(call(), (b"authorization", b"Bearer nobody"))
        now += 60
        await there.ask(call(), (b"authorization", b"Bearer nobody"))

        (flood,) = there.entries("flood")
        assert flood["count"] == 2
        assert [entry["seq"] for entry in there.entries("refused")] == [flood["seq"] - 1, flood["seq"] + 1]


@requirement("strangers/told")
async def test_refusals_of_callers_that_nobody_knows_do_not_fill_the_log_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stranger = (b"authorization", b"Bearer nobody")
    async with bench(tmp_path, more="journal: {refusals: 2}\n") as there:
        capsys.readouterr()
        for _ in range(5):
            await there.ask(call(), stranger)
        early = Refusal(404, Reason("request/path", "There is nothing at this path.", ""), INVALID_REQUEST)
        for _ in range(3):
            await there.gateway.pipeline.refuser.refuse_early(early, RefusedClient("127.0.0.1", ()))
        flooded = capsys.readouterr().out
        for _ in range(3):
            assert (await there.ask(b"{")).status == 400
        known = capsys.readouterr().out
    stopped = capsys.readouterr().out

    assert flooded.count("\n") == 2
    assert flooded.count("identity/malformed") == 2
    assert known.count("request/json") == 3, "a known caller's are all told"
    assert "refused.rest" in stopped
    assert "'identity/malformed': 3" in stopped
    assert "'request/path': 3" in stopped


async def test_a_failure_outside_is_told_with_its_problem_in_the_line_of_its_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with bench(tmp_path, Upstream(script=lambda _request: UpstreamUnreachable("no route to files"))) as there:
        capsys.readouterr()
        assert (await there.ask(call())).status == 502
        told = capsys.readouterr().out

    (line,) = told.splitlines()
    assert "upstream/unreachable" in line
    assert "No route to files" in line


def test_a_failure_is_told_in_sentences():
    reason = refuse_failure(UpstreamBroken("it died", "start it again")).reason

    assert (reason.message, reason.remedy) == ("It died.", "Start it again.")
    assert refuse_failure(UpstreamBroken("it died")).reason.remedy == ""
