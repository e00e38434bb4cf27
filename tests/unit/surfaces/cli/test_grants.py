"""`opagate policy grants propose`: a day of observed calls, the proposal, and the same calls under it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from benchmarks.credentials.examples import example
from gateway.model.wire import UpstreamReply, UpstreamRequest
from gateway.surfaces.cli import template
from gateway.surfaces.granting.observed import read_call
from tests.unit.harness import JSON, READING, Answer, Bench, Upstream, bench, call, result
from tests.unit.recurring import bearer
from tests.unit.surfaces.cli.conftest import Status

VALUE = example("ghp_{w:30}{crc62}", Random(1))
IDENTITY = "{kind: development}"
RECORD = "journal: {arguments: full, results: full}\n"
OBSERVING = f"{RECORD}enforce: false\n"
NOTHING = "upstreams: {}\n"
SITE = "additional_arguments: pass"
LABELS = f"{READING}\n      'write_*': {{effect: write, egress: false, sensitivity: internal}}"
READS = tuple(f"read_{number:02}" for number in range(14))
WRITES = tuple(f"write_{number}" for number in range(6))
DAY = [
    *((name, {"path": f"notes/{number}/{name}.txt"}) for name in READS for number in range(3)),
    *(
        (name, {"to": f"{who}@corp.example", "amount": number * 10, "kind": "note"})
        for name in WRITES
        for number, who in ((1, "ana"), (2, "ben"))
    ),
    ("read_00", {"path": "notes/9/x.txt", "limit": 5}),
]


class Many(Upstream):
    """An upstream with twenty tools."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        if request.message is not None and request.message.method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in (*READS, *WRITES)]
            return UpstreamReply(200, JSON, self._chunks(result(request, {"tools": tools}).chunks), self.aclose)
        return await super().send(request)


async def play(there: Bench, agent: str = "triage") -> list[Answer]:
    """Make the calls of a day."""
    return [await there.ask(call(name, **arguments), bearer(there, agent)) for name, arguments in DAY]


def is_refused(answer: Answer) -> bool:
    return "io.opagate/decision" in answer.json["result"].get("_meta", {})


def proposed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the document of a command, without the log of the gateway before it."""
    written = capsys.readouterr().out
    return json.loads(written[written.index("{\n") :])


def configure(folder: Path, labels: str = LABELS) -> None:
    (folder / "gateway.yaml").write_text(
        f"identity: [{IDENTITY}]\npolicy: {{grants: grants.yaml}}\n"
        "upstreams:\n  files:\n    url: http://127.0.0.1:9/mcp\n    audience: files\n    environment: test\n"
        f"    {SITE}\n    tools:\n      '*': {labels}\nstate: state\n{OBSERVING}",
        "utf-8",
    )


def record(folder: Path, *agents: str, more: str = OBSERVING, grants: str = NOTHING) -> None:
    async def run() -> None:
        async with bench(folder, Many(), more, LABELS, identity=IDENTITY, grants=grants, site=SITE) as there:
            for agent in agents or ("triage",):
                answers = await play(there, agent)
                assert not any(map(is_refused, answers))

    asyncio.run(run())
    configure(folder)


def test_the_same_calls_pass_under_the_proposal_and_another_one_does_not(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    record(tmp_path)
    assert status("policy", "grants", "propose", "--since", "1d", "--write", "proposed.yaml") == 0
    told = capsys.readouterr().err
    written = (tmp_path / "proposed.yaml").read_text("utf-8")
    assert (tmp_path / "proposed.yaml").stat().st_mode & 0o077 == 0

    async def enforce() -> tuple[list[Answer], list[Answer]]:
        async with bench(tmp_path, Many(), RECORD, LABELS, identity=IDENTITY, grants=written, site=SITE) as there:
            again = await play(there)
            others = [
                await there.ask(call("read_00", path="/etc/passwd"), bearer(there, "triage")),
                await there.ask(
                    call("write_0", to="eve@evil.example", amount=10, kind="note"), bearer(there, "triage")
                ),
                await there.ask(
                    call("write_0", to="ana@corp.example", amount=1000, kind="note"), bearer(there, "triage")
                ),
                await there.ask(call("read_01", path="notes/1/read_01.txt"), bearer(there, "mallory")),
            ]
        return again, others

    again, others = asyncio.run(enforce())

    assert [answer.codes for answer in again if is_refused(answer)] == []
    assert [answer.codes[0] for answer in others] == [
        "tool/arguments",
        "tool/arguments",
        "tool/arguments",
        "tool/not-granted",
    ]
    assert f"of {len(DAY)} forwarded calls, {len(DAY)} pass with these grants alone" in told
    grants = yaml.safe_load(written)["upstreams"]["files"]
    assert len({grant["id"] for grant in grants}) == len(grants)
    writing = next(grant for grant in grants if grant["effects"] == ["write"])
    assert writing["tools"] == list(WRITES)
    assert writing["users"] == ["ursula"]
    assert "# 12 calls, the last at 20" in written


def test_the_values_that_are_not_recorded_narrow_nothing(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    record(tmp_path, more="enforce: false\n")
    assert status("policy", "grants", "propose", "--json") == 0
    found = proposed(capsys)

    (writing,) = [item["grant"] for item in found["upstreams"]["files"] if item["grant"]["effects"] == ["write"]]
    assert (writing["arguments"], "when" in writing) == (["amount", "kind", "to"], False)
    assert found["passed"] == len(DAY)


def test_a_call_whose_destination_is_not_recorded_is_granted(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fetching = "{effect: read, egress: true, sensitivity: internal, roles: {/url: destination}}"

    async def run() -> None:
        async with bench(
            tmp_path, Many(), "enforce: false\n", fetching, identity=IDENTITY, grants=NOTHING, site=SITE
        ) as there:
            await there.ask(call("read_00", url="https://docs.example/a"), bearer(there, "triage"))

    asyncio.run(run())
    configure(tmp_path, fetching)
    assert status("policy", "grants", "propose", "--json") == 0
    found = proposed(capsys)

    assert (found["passed"], found["left_out"], found["refused"]) == (1, {}, {})
    assert [item["grant"]["tools"] for item in found["upstreams"]["files"]] == [["read_00"]]


def test_an_agent_alone_is_proposed_for(status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record(tmp_path, "triage", "other")
    assert status("policy", "grants", "propose", "--agent", "other", "--json") == 0
    found = proposed(capsys)

    assert {agent for item in found["upstreams"]["files"] for agent in item["grant"]["agents"]} == {"other"}
    assert status("policy", "grants", "propose", "--agent", "nobody") == 1
    assert status("policy", "grants", "propose", "--write", "gateway.yaml") == 2
    (tmp_path / "link.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert status("policy", "grants", "propose", "--write", "link.yaml") == 2
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_the_grants_of_a_first_start_ask_on_unless_the_operator_says_otherwise(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    record(tmp_path, grants=template.grants({"files": {}}))

    assert status("policy", "grants", "propose", "--json") == 0
    kept = proposed(capsys)
    assert status("policy", "grants", "propose", "--unasked", "--json") == 0
    unasked = proposed(capsys)

    assert kept["asked"] == {"approval/grant": len(WRITES) * 2}
    assert unasked["asked"] == {}
    assert unasked["passed"] == len(DAY)
    assert '"approval": true' in json.dumps(kept)
    assert '"approval": true' not in json.dumps(unasked)


def test_a_call_that_a_person_approved_keeps_its_approval():
    entry: dict[str, Any] = {
        "kind": "call",
        "id": "1",
        "time": "2026-12-01T00:00:00Z",
        "effect": "allow",
        "approval": "q1",
        "reasons": [],
        "principal": {"id": "triage", "issuer": "i", "user": None},
        "arguments": {"names": []},
        "target": {
            "id": "files/write_0",
            "type": "tool",
            "upstream": "files",
            "effect": "write",
            "sensitivity": "internal",
            "roles": {},
        },
    }

    assert read_call(entry, unasked=True).is_approved


def test_what_other_rules_refuse_or_ask_is_told(status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Labels written after the calls count: here the tools that write delete what cannot be taken back."""
    record(tmp_path)
    configure(tmp_path, LABELS.replace("effect: write", "effect: destructive"))
    assert status("policy", "grants", "propose", "--upstream", "files", "--json") == 0
    found = proposed(capsys)

    assert (found["asked"], found["refused"]) == ({"approval/effect": 12}, {})
    assert found["passed"] == len(READS) * 3 + 1


def test_a_call_that_was_refused_and_a_chain_of_credentials_are_never_proposed(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async def run() -> None:
        async with bench(tmp_path, Many(), OBSERVING, LABELS, identity=IDENTITY, grants=NOTHING, site=SITE) as there:
            await there.ask(call("read_00", path="a/b.txt"), bearer(there, "triage"))
            await there.ask(call("read_99"), bearer(there, "triage"))
            await there.ask(call("write_0", text=VALUE), bearer(there, "triage"))

    asyncio.run(run())
    configure(tmp_path)
    assert status("policy", "grants", "propose", "--json") == 0
    found = proposed(capsys)

    assert found["passed"] == 1
    assert sorted(found["left_out"].values()) == [1, 1]
    assert any("catalogue/unknown" in reason for reason in found["left_out"])
    assert any("a chain of credentials" in reason for reason in found["left_out"])


def test_lines_of_the_configuration_spare_questions_that_no_grant_spares(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fetching = "{effect: read, egress: true, sensitivity: internal, roles: {/url: destination}}"
    pages = ["https://docs.example/a", "https://docs.example/b"]

    async def run(more: str, lines: str, grants: str) -> list[Answer]:
        folder = tmp_path / f"bench-{len(lines)}"
        folder.mkdir(exist_ok=True)
        settings = f"{more}approvals: null\n{lines}\n"
        async with bench(folder, Many(), settings, fetching, identity=IDENTITY, grants=grants, site=SITE) as there:
            return [await there.ask(call("read_00", url=page), bearer(there, "triage")) for page in pages]

    asyncio.run(run(OBSERVING, "", NOTHING))
    (tmp_path / "bench-0" / "state").rename(tmp_path / "state")
    configure(tmp_path, fetching)
    assert status("policy", "grants", "propose", "--write", "proposed.yaml") == 0
    told = capsys.readouterr().err
    written = (tmp_path / "proposed.yaml").read_text("utf-8")
    (line,) = (line.removeprefix("#   ") for line in written.splitlines() if "directory:" in line)

    assert "lines of gateway.yaml spare 1 question of these" in told
    assert yaml.safe_load(line) == {"directory": {"entries": ["docs.example"]}}
    assert [is_refused(one) for one in asyncio.run(run(RECORD, "", written))][1]
    assert [one.codes for one in asyncio.run(run(RECORD, line, written)) if is_refused(one)] == []


USED = """
upstreams:
  files:
    - {id: used, owner: ana, reason: The triage of tickets., agents: [triage], issuers: ["*"], tools: ["read_*"], when: {/path: {under: notes}}}
    - {id: elsewhere, agents: [triage], issuers: ["*"], tools: ["read_*"], when: {/path: {under: secrets}}}
    - {id: over, until: "2026-01-01T00:00:00Z", agents: [triage], issuers: ["*"], tools: ["write_*"], effects: [write]}
  mail: reads
"""


def use_grants(folder: Path, more: str) -> None:
    async def run() -> None:
        async with bench(folder, Many(), more, LABELS, identity=IDENTITY, grants=USED, site=SITE) as there:
            for _ in range(2):
                assert not is_refused(await there.ask(call("read_00", path="notes/a.txt"), bearer(there, "triage")))
            assert is_refused(await there.ask(call("read_00", path="other/a.txt"), bearer(there, "triage")))
            assert is_refused(await there.ask(call("write_0"), bearer(there, "triage")))

    asyncio.run(run())
    configure(folder)


def test_each_grant_is_listed_with_its_last_use(status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    use_grants(tmp_path, RECORD)
    assert status("policy", "grants", "list", "--json") == 0
    written = capsys.readouterr().out
    found = {use["grant"]["id"]: use for use in json.loads(written[written.index("[\n") :])}

    assert {name: (use["calls"], use["last"] is None, use["is_over"]) for name, use in found.items()} == {
        "used": (2, False, False),
        "elsewhere": (0, True, False),
        "over": (0, True, True),
        "reads-of-mail": (0, True, False),
    }
    assert found["used"]["grant"]["owner"] == "ana"
    assert status("policy", "grants", "list") == 0
    shown = capsys.readouterr().out
    assert "never" in shown
    assert "(over)" in shown


def test_without_recorded_values_a_grant_that_may_hold_counts_as_used(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    use_grants(tmp_path, "")
    assert status("policy", "grants", "list", "--json") == 0
    written = capsys.readouterr().out
    found = {use["grant"]["id"]: use["calls"] for use in json.loads(written[written.index("[\n") :])}

    assert (found["used"], found["elsewhere"], found["over"]) == (2, 2, 0)
