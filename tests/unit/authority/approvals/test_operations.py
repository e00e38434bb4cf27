"""The desk on the control socket, spoken to by `opagate approvals` and by hand."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from typer.testing import CliRunner

from gateway.authority.approvals import Desk
from gateway.authority.approvals.endorsements import Endorsements
from gateway.authority.approvals.model import ApproverRule, Question, Recurrence
from gateway.authority.approvals.office import OPERATIONS, Office, add_operations
from gateway.authority.approvals.rules import Accounts, Admission
from gateway.base.control.operations import ControlSocket, OperatorAccounts
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import approvals
from gateway.surfaces.cli.control_client import ControlRefusal, connect_to_gateway
from tests.unit.authority.approvals.making import (
    BOB,
    DESCRIPTION,
    Recorder,
    endorsement,
    make_desk,
    make_endorsements,
    make_passkeys,
    question,
)
from tests.unit.clock import Clock
from tests.unit.operating import new_control

ME = os.getuid()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path, Recorder(), Clock(1_000.5))


@pytest.fixture
def endorsements(tmp_path: Path) -> Endorsements:
    return make_endorsements(tmp_path, Recorder(), Clock(1_000.5))


@pytest.fixture
async def ended() -> list[str]:
    return []


@pytest.fixture
async def path(tmp_path: Path, desk: Desk, endorsements: Endorsements, ended: list[str]) -> AsyncGenerator[Path]:
    async with listening(tmp_path, desk, ended, Accounts({ME: BOB}, OperatorAccounts(ME + 1)), endorsements) as found:
        yield found


def listening(
    folder: Path, desk: Desk, ended: list[str], accounts: Accounts, endorsements: Endorsements | None = None
) -> Any:
    register = endorsements or make_endorsements(folder, Recorder(), Clock(1_000.5))

    class Listening:
        async def __aenter__(self) -> Path:
            async def end_task(question: Question) -> bool:
                ended.append(question.task)
                return True

            self.stack = AsyncExitStack()
            control = new_control()
            add_operations(control, Office(desk, register, end_task, make_passkeys(folder)))
            socket = ControlSocket(folder / "desk.sock", control, accounts.identify)
            await socket.start(self.stack)
            return socket.path

        async def __aexit__(self, *_: object) -> None:
            await self.stack.aclose()

    return Listening()


async def asked(path: Path, do: str, speaks_as: str | None = None, **fields: Any) -> Any:
    def ask() -> Any:
        with connect_to_gateway(path, speaks_as) as client:
            return client.ask(do, **fields)

    return await asyncio.to_thread(ask)


async def refused(path: Path, do: str, speaks_as: str | None = None, **fields: Any) -> str:
    with pytest.raises(ControlRefusal) as refusal:
        await asked(path, do, speaks_as, **fields)
    return refusal.value.message.rpartition("[")[2].rstrip("]")


def vote(answer: str = "approve", **more: Any) -> dict[str, Any]:
    return {"answer": answer, "shown": "sha256:shown-q1", **more}


async def test_a_person_lists_shows_and_approves(desk: Desk, path: Path):
    await desk.ask(question(), DESCRIPTION)

    (listed,) = (await asked(path, "approvals/list"))["questions"]
    shown = await asked(path, "approvals/show", id="q1")
    voted = await asked(path, "approvals/vote", id="q1", **vote())

    assert (listed["id"], listed["code"], listed["votes"]) == ("q1", shown["code"], "0 of 1")
    assert shown["said_by_agent"]["arguments"] == DESCRIPTION["arguments"]
    assert (shown["is_whole"], shown["may_approve"]) == (True, True)
    assert shown["instead"][0]["yaml"] == "effects: {destructive: ['files/delete']}"
    assert voted["state"] == "granted"
    (one,) = desk.list_open()
    assert one.votes[0].person == BOB


async def test_a_no_can_end_the_task(desk: Desk, path: Path, ended: list[str]):
    await desk.ask(question(), DESCRIPTION)
    voted = await asked(path, "approvals/vote", id="q1", **vote("deny", end_task=True))

    assert (voted["state"], voted["task_ended"], ended) == ("denied", True, ["t1"])


async def test_a_yes_never_ends_a_task(desk: Desk, path: Path, ended: list[str]):
    await desk.ask(question(), DESCRIPTION)
    voted = await asked(path, "approvals/vote", id="q1", **vote(end_task=True))

    assert (voted["state"], voted["task_ended"], ended) == ("granted", False, [])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"id": "q2", **vote()}, "vote/unknown"),
        ({"id": "q1"}, "control/invalid"),
        ({"id": "q1", **vote("maybe")}, "vote/invalid"),
        ({"id": "q1", **vote(scopes=["always"])}, "vote/invalid"),
        ({"id": "q1", **vote(), "shown": "sha256:other"}, "vote/changed"),
        ({"id": "q1", **vote(), "person": "alice"}, "control/invalid"),
        ({"id": "q1", **vote(), "speaks_as": "alice"}, "vote/account"),
    ],
)
async def test_requests_that_count_for_nothing(desk: Desk, path: Path, fields: dict[str, Any], code: str):
    await desk.ask(question(), DESCRIPTION)

    assert await refused(path, "approvals/vote", **fields) == code
    assert [one.state for one in desk.list_open()] == ["pending"]


async def test_the_gateways_own_account_and_strangers_are_not_heard(tmp_path: Path, desk: Desk, ended: list[str]):
    for accounts in (
        Accounts({ME: BOB}, OperatorAccounts(ME)),
        Accounts({}, OperatorAccounts(ME + 1)),
        Accounts({ME + 1: BOB}, OperatorAccounts(ME + 2)),
    ):
        async with listening(tmp_path, desk, ended, accounts) as path:
            for operation in OPERATIONS:
                assert await refused(path, operation.name) == "vote/account"


async def test_in_development_the_owner_speaks_as_anybody_but_the_requester(
    tmp_path: Path, desk: Desk, ended: list[str]
):
    await desk.ask(question(), DESCRIPTION)
    async with listening(tmp_path, desk, ended, Accounts({}, OperatorAccounts(ME, is_development=True))) as path:
        assert await refused(path, "approvals/vote", "agent", id="q1", **vote()) == "vote/excluded"
        assert (await asked(path, "approvals/vote", "carol", id="q1", **vote()))["state"] == "granted"


@pytest.mark.parametrize(("held", "is_heard"), [((), False), (("staff",), False), (("staff", "\uff53re"), True)])
async def test_where_groups_are_configured_a_listed_account_needs_one_of_them(
    tmp_path: Path, desk: Desk, ended: list[str], held: tuple[str, ...], *, is_heard: bool
):
    person = structs.replace(BOB, groups=held)
    accounts = Accounts({ME: person}, OperatorAccounts(ME + 1), Admission(("sre",)))
    await desk.ask(question(), DESCRIPTION)
    async with listening(tmp_path, desk, ended, accounts) as path:
        if is_heard:
            assert [one["id"] for one in (await asked(path, "approvals/list"))["questions"]] == ["q1"]
            return
        for operation in OPERATIONS:
            assert await refused(path, operation.name) == "vote/member"


async def test_a_watcher_sees_each_change(desk: Desk, path: Path):
    await desk.ask(question(), DESCRIPTION)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"do": "approvals/watch"}\n')
    first = json.loads(await reader.readline())
    await desk.ask(question("q2"), DESCRIPTION)
    second = json.loads(await reader.readline())
    writer.close()

    assert [first["ok"]["id"], second["ok"]["id"]] == ["q1", "q2"]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\n",
        b"{}\n",
        b"[]\n",
        b'{"do": "approvals/list", "id": "q1"}\n',
        b'{"do": "approvals/list", "fields": []}\n',
        b'{"do": "approvals/list", "fields": ' + b"[" * 30_000 + b"}\n",
        b"{" * 70_000 + b"\n",
    ],
)
async def test_a_line_that_is_no_request_ends_nothing(desk: Desk, path: Path, line: bytes):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    answer = await reader.readline()
    writer.close()

    assert answer == b"" or json.loads(answer)["error"]["code"] == "control/invalid"
    assert (await asked(path, "approvals/list"))["questions"] == []


async def test_silent_and_strange_peers_keep_no_place(tmp_path: Path, desk: Desk, endorsements: Endorsements):
    control = new_control()
    add_operations(control, Office(desk, endorsements, _end_no_task, make_passkeys(tmp_path)))
    for accounts, first in (
        (Accounts({ME: BOB}, OperatorAccounts(ME + 1)), b""),
        (Accounts({}, OperatorAccounts(ME + 1)), b'{"do": "approvals/list"}\n'),
    ):
        async with AsyncExitStack() as stack:
            idle = 60.0 if first else 0.05
            socket = ControlSocket(tmp_path / "idle.sock", control, accounts.identify, idle=idle)
            await socket.start(stack)
            reader, writer = await asyncio.open_unix_connection(socket.path)
            writer.write(first)
            answer = await asyncio.wait_for(reader.read(), 300)
            writer.close()
            assert (b"vote/account" in answer) is bool(first)


async def test_a_path_that_cannot_be_a_socket_is_told(tmp_path: Path):
    socket = ControlSocket(tmp_path / ("x" * 200), new_control(), Accounts({}, OperatorAccounts(0)).identify)
    with pytest.raises(ConfigurationError, match="cannot be made"):
        await socket.start(AsyncExitStack())


def test_without_a_gateway_the_command_says_so(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no gateway answers"), connect_to_gateway(tmp_path / "no.sock"):
        pass


async def _end_no_task(_question: Question) -> bool:
    return False


# --- the command line --------------------------------------------------------------------------------


async def run(*words: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, approvals.app, list(words))
    assert result.exception is None, result.output
    return result.output


async def test_the_commands_show_what_is_asked_and_answer(desk: Desk, path: Path, capsys: pytest.CaptureFixture[str]):
    hostile = {"arguments": {"mode": "full", "value": {"path": "a\u202eb\x1b[2J"}}, "goal": "tidy\x07 up"}
    await desk.ask(question(), {**DESCRIPTION, **hostile})
    at = ("--gateway", str(path))

    listed = json.loads(await run("list", "--json", *at))
    voted = json.loads(await run("approve", "q", "--scope", "limit", "--json", *at))

    assert [one["id"] for one in listed] == ["q1"]
    assert voted["state"] == "granted"
    (one,) = desk.list_open()
    assert one.scopes == ("once", "limit")


async def test_hidden_characters_reach_no_terminal(desk: Desk, path: Path, capfd: pytest.CaptureFixture[str]):
    value = {"path": "a\u202eb\x1b[2J\u200b", "n": 1}
    await desk.ask(question(), {**DESCRIPTION, "arguments": {"mode": "full", "value": value}, "goal": "x\x07"})

    def show() -> None:
        approvals.show_question("q1", at=str(path))

    await asyncio.to_thread(show)
    printed = capfd.readouterr().out

    assert not set(printed) & {"\u202e", "\x1b", "\u200b", "\x07"}
    assert "said by the agent" in printed
    assert "this call once" in printed


async def test_arguments_that_are_not_shown_whole_say_so(desk: Desk, path: Path, capfd: pytest.CaptureFixture[str]):
    record = {"mode": "digest", "digest": "fp:1", "bytes": 70_000, "names": ["path"]}
    await desk.ask(question(), {**DESCRIPTION, "arguments": record})
    await asyncio.to_thread(lambda: approvals.show_question("q1", at=str(path)))

    assert "NOT shown whole" in capfd.readouterr().out


async def test_show_is_laid_out_in_lines(desk: Desk, path: Path, capfd: pytest.CaptureFixture[str]):
    await desk.ask(question(), DESCRIPTION)
    await asyncio.to_thread(lambda: approvals.show_question("q1", at=str(path)))
    printed = capfd.readouterr().out

    assert "U+000A" not in printed
    assert '  /path = "a"' in printed.splitlines()


# --- endorsements ------------------------------------------------------------------------------------


async def test_a_person_lists_and_revokes_endorsements(path: Path, endorsements: Endorsements):
    await endorsements.give(endorsement())
    (listed,) = (await asked(path, "endorsements/list"))["endorsements"]

    assert (listed["id"], listed["kind"], listed["tool"]) == ("e1", "weekly-report", "mail/send")
    assert (listed["values"], listed["approved_by"][0]["id"]) == ({"/to": ["boss@corp.example"]}, "bob")
    assert [one["id"] for one in (await asked(path, "endorsements/revoke", id="e1"))["endorsements"]] == ["e1"]
    assert (await asked(path, "endorsements/list"))["endorsements"] == []


@pytest.mark.parametrize(
    ("selection", "code"),
    [
        ({}, "endorsement/invalid"),
        ({"all": False}, "endorsement/invalid"),
        ({"id": "e2"}, "endorsement/unknown"),
        ({"kind": "monthly-report"}, "endorsement/unknown"),
        ({"all": True, "kind": "monthly-report"}, "endorsement/unknown"),
        ({"everything": True}, "control/invalid"),
    ],
)
async def test_a_selection_that_fits_nothing_revokes_nothing(
    path: Path, endorsements: Endorsements, selection: dict[str, Any], code: str
):
    await endorsements.give(endorsement())

    assert await refused(path, "endorsements/revoke", **selection) == code
    assert len(endorsements.list()) == 1


async def test_the_commands_list_and_revoke_what_they_name(path: Path, endorsements: Endorsements):
    await endorsements.give(endorsement("e1"))
    await endorsements.give(endorsement("f2", binding={"kind": "monthly-report"}, user="alice"))
    await endorsements.give(endorsement("g3", binding={"tool": "chat/post"}, agent="other"))

    async def run_commands(*words: str) -> Any:
        result = await asyncio.to_thread(
            CliRunner().invoke, approvals.endorsements, [*words, "--json", "--gateway", str(path)]
        )
        assert result.exception is None, result.output
        return [one["id"] for one in json.loads(result.output)]

    assert await run_commands("list") == ["e1", "f2", "g3"]
    assert await run_commands("list", "--kind", "weekly-report", "--tool", "mail/send") == ["e1"]
    assert await run_commands("list", "--principal", "alice") == ["f2"]
    assert await run_commands("revoke", "--principal", "ursula", "--tool", "chat/post") == ["g3"]
    assert await run_commands("revoke", "e") == ["e1"]
    assert await run_commands("revoke", "--all") == ["f2"]


async def test_a_command_that_names_nothing_is_told(path: Path):
    result = await asyncio.to_thread(CliRunner().invoke, approvals.endorsements, ["revoke", "--gateway", str(path)])

    assert result.exit_code == 2


async def test_hidden_characters_of_values_reach_no_terminal(
    path: Path, endorsements: Endorsements, capfd: pytest.CaptureFixture[str]
):
    await endorsements.give(endorsement(shown={"/to": ["a\u202eb\x1b[2J" + "x" * 500]}))
    await endorsements.give(endorsement("f2", shown=None))
    await asyncio.to_thread(lambda: approvals.list_endorsements(at=str(path)))
    printed = capfd.readouterr().out

    assert not set(printed) & {"\u202e", "\x1b"}
    assert "characters)" in printed
    assert "of which the gateway has the digest alone" in printed


async def test_show_says_what_a_yes_can_carry_over(desk: Desk, path: Path, capfd: pytest.CaptureFixture[str]):
    bound = endorsement().binding
    recurs = Recurrence(bound, 3_024_000, ("/to",), {"/to": ["boss@corp.example"], "/amount": [10]})
    rule = ApproverRule(scopes=("once", "recurring"))
    await desk.ask(question(recurrence=recurs, rule=rule), {**DESCRIPTION, "declared_kind": "weekly-report"})
    await asyncio.to_thread(lambda: approvals.show_question("q1", at=str(path)))
    printed = " ".join(capfd.readouterr().out.replace("│", "").split())

    assert "kind of the task: weekly-report" in printed
    assert "with --scope recurring: also these values together, for 35 days" in printed
    assert '/to = "boss@corp.example" /amount = 10' in printed
