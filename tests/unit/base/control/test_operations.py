"""The control interface: who is heard for which role, and the answers to unknown operations."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals.model import Person
from gateway.authority.approvals.rules import Accounts
from gateway.base.control.line_socket import PEERS_OF_ACCOUNT, Account, has_place
from gateway.base.control.operations import (
    Control,
    ControlRequest,
    ControlSocket,
    NoFields,
    OperatorAccounts,
    OperatorName,
)
from gateway.model.decision import Reason
from gateway.surfaces.app.control import OPERATIONS

OWN, OPERATOR, APPROVER, OTHER = 1000, 1001, 1002, 1003
ACCOUNTS = Accounts(
    {APPROVER: Person("ada", "https://idp.example", (), "peer", "socket")},
    OperatorAccounts(OWN, {OPERATOR: OperatorName("olga")}),
)
HEARD = {
    OPERATOR: {"operator", "account"},
    APPROVER: {"approver", "account"},
    0: {"operator", "account"},
    OWN: {"account"},
    OTHER: {"account"},
}
"""The roles of each account. An operation for accounts judges these itself."""


@pytest.mark.parametrize("uid", HEARD)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_hears_the_accounts_of_its_role_alone(uid: int, name: str):
    role = OPERATIONS[name].role
    found = ACCOUNTS.identify(role, Account(uid, has_terminal=True), ControlRequest(name))

    assert isinstance(found, Reason) is (role not in HEARD[uid])


@pytest.mark.parametrize("spoken", [{"speaks_as": "olga"}, {"groups": ("sre",)}])
@pytest.mark.parametrize("name", [name for name, each in OPERATIONS.items() if each.role != "approver"])
def test_an_operator_speaks_as_no_other_person(name: str, spoken: dict[str, Any]):
    accounts = Accounts({}, OperatorAccounts(OWN, is_development=True))

    for uid in (0, OWN):
        request = ControlRequest(name, **spoken)
        found = accounts.identify(OPERATIONS[name].role, Account(uid, has_terminal=True), request)
        assert isinstance(found, Reason)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncGenerator[Path]:
    async def answer(_asked: NoFields, by: OperatorName) -> list[str]:
        return [by.id]

    control = Control(OPERATIONS)
    control.add({OPERATIONS["stops/list"]: answer})
    accounts = Accounts({}, OperatorAccounts(os.getuid() + 1, {os.getuid(): OperatorName("olga")}))
    async with AsyncExitStack() as stack:
        socket = ControlSocket(tmp_path / "control.sock", control, accounts.identify)
        await socket.start(stack)
        yield socket.path


async def ask(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"".join(line + b"\n" for line in lines))
    answers = [json.loads(await reader.readline()) for _ in lines]
    writer.close()
    return answers


async def test_one_connection_asks_for_several_operations(path: Path):
    lines = (b'{"do": "eat"}', b'{"do": "leases/list"}', b'{"do": "stops/list"}')
    unknown, absent, answered = await ask(path, *lines)

    assert unknown["error"]["code"] == "control/unknown"
    assert absent["error"]["code"] == "control/absent"
    assert absent["error"]["remedy"] == "Its configuration needs an upstream with a leased credential."
    assert answered == {"ok": ["olga"]}


@pytest.mark.parametrize(
    ("uid", "own", "connected", "is_heard"),
    [
        (OTHER, 16, 16, True),
        (OTHER, 17, 17, False),
        (0, 17, 17, False),
        (OTHER, 1, 64, True),
        (OTHER, 1, 65, False),
        (0, 1, 65, True),
        (0, 16, 10_000, True),
    ],
)
def test_no_account_keeps_the_places_of_others(uid: int, own: int, connected: int, *, is_heard: bool):
    assert has_place(uid, own, connected) is is_heard


async def test_an_account_has_so_many_connections_and_again_after_their_end(path: Path):
    kept = [await asyncio.open_unix_connection(path) for _ in range(PEERS_OF_ACCOUNT)]
    for reader, writer in kept:
        writer.write(b'{"do": "stops/list"}\n')
        assert json.loads(await reader.readline()) == {"ok": ["olga"]}
    (refused,) = await ask(path, b'{"do": "stops/list"}')
    for reader, writer in kept:
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()

    assert refused["error"]["code"] == "socket/busy"
    assert await ask(path, b'{"do": "stops/list"}') == [{"ok": ["olga"]}]


@pytest.mark.parametrize("fields", [b'{"all": true}', b"[]", b"null", b"{} {}", b'"', b"[" * 30_000])
async def test_fields_that_an_operation_does_not_have_are_refused(path: Path, fields: bytes):
    refused, answered = await ask(path, b'{"do": "stops/list", "fields": %b}' % fields, b'{"do": "stops/list"}')

    assert refused["error"]["code"] == "control/invalid"
    assert answered == {"ok": ["olga"]}
