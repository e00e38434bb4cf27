"""Every part, made from the configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import config
from gateway.model.errors import JournalError, PolicyBroken, StoreError
from gateway.surfaces import app
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.stdio import StdioUpstream
from tests.unit.harness import Back, Upstream, bench, call, message, result


async def test_a_policy_that_is_broken_keeps_everything_from_starting_and_leaves_nothing_open(tmp_path: Path):
    (tmp_path / "rego").mkdir()
    configuration = config.parse("identity: [{kind: anonymous}]\nstate: state\npolicy: {path: rego}\n", base=tmp_path)
    with pytest.raises(PolicyBroken):
        async with app.open_gateway(configuration):
            pytest.fail("it started")
    # The journal's lock is free again.
    async with bench(tmp_path):
        pass


async def test_state_of_an_earlier_release_is_not_passed_over(tmp_path: Path):
    configuration = config.parse("identity: [{kind: anonymous}]\nstate: state\n", base=tmp_path)
    (tmp_path / "state/leases").mkdir(parents=True)
    (tmp_path / "state/leases/leases.db").touch()

    with pytest.raises(StoreError, match=r"leases\.db is of a release before 0\.2\.0"):
        async with app.open_gateway(configuration):
            pytest.fail("it started")


def test_each_upstream_gets_the_transport_that_its_configuration_names(tmp_path: Path):
    text = "upstreams: {a: {url: 'http://127.0.0.1:9/mcp', audience: a}, b: {command: [cat], audience: b}}"
    found = app.upstream_transports(config.parse(text, base=tmp_path), lambda: 0.0)

    assert [type(port) for port in found.values()] == [HttpUpstream, StdioUpstream]


async def test_two_gateways_do_not_share_a_state_folder_whatever_journals_they_write(tmp_path: Path):
    text = "identity: [{kind: anonymous}]\nstate: state\n"
    other = config.parse(f"{text}journal: {{path: other}}\n", base=tmp_path)
    async with app.open_gateway(config.parse(text, base=tmp_path)):
        with pytest.raises(JournalError, match="another gateway uses the state folder"):
            async with app.open_gateway(other):
                pytest.fail("it started")
    assert not (tmp_path / "other").exists()
    async with app.open_gateway(other):
        pass


async def test_a_second_gateway_on_one_journal_is_told_that_another_writes_and_not_that_keys_are_lost(tmp_path: Path):
    text = "identity: [{kind: anonymous}]\nstate: state\njournal: {path: journal}\n"
    other = config.parse(text.replace("state: state", "state: other"), base=tmp_path)
    async with app.open_gateway(config.parse(text, base=tmp_path)):
        with pytest.raises(JournalError, match=rf"another gateway writes to .* \(process {os.getpid()} on ") as caught:
            async with app.open_gateway(other):
                pytest.fail("it started")
    assert "a journal of its own" in caught.value.remedy


async def test_no_answer_is_an_answer_of_the_upstream_too(tmp_path: Path):
    async with bench(tmp_path, Upstream(script=lambda _request: Back(202, None))) as there:
        notification = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        assert (await there.ask(notification)).status == 202


async def test_under_a_locked_catalogue_a_tool_that_nobody_pinned_is_neither_shown_nor_used(tmp_path: Path):
    async with bench(tmp_path, more="catalogue: {trust: locked}\n") as there:
        there.upstream.script = lambda request: result(
            request, {"tools": [{"name": "read_file", "inputSchema": {"type": "object"}}]}
        )
        assert (await there.ask(message("tools/list"))).json["result"]["tools"] == []
        sent = len(there.upstream.sent)
        answer = await there.ask(call())

    assert answer.codes == ["catalogue/unpinned"]
    assert len(there.upstream.sent) == sent
    (entry,) = there.entries("call")
    assert entry["target"]["pin"] == "unreviewed"
