"""The use of an approval: on a disk before its call goes on."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.authority.approvals.model import Approval, State
from gateway.model.errors import JournalError, StoreError
from gateway.record.journal.storage import Disk
from tests.unit.approving import QUICK, approve, desk
from tests.unit.harness import Answer, Bench, bench, call

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def refuse_to_save(there: Bench, monkeypatch: pytest.MonkeyPatch, *states: State) -> None:
    """Have the store refuse approvals in some states."""
    store = desk(there)._store
    written = store.save

    async def save(approval: Approval) -> bool:
        if approval.state in states:
            raise StoreError("the disk is full")
        return await written(approval)

    monkeypatch.setattr(store, "save", save)


async def test_a_claim_that_the_disk_does_not_take_lets_no_call_pass_and_loses_no_approval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with bench(tmp_path, more=QUICK) as there:
        await there.ask(call("ask_first", path="a"))
        await approve(there)
        with monkeypatch.context() as full:
            refuse_to_save(there, full, "granted")
            refused = await there.ask(call("ask_first", path="a"))
        assert refused.codes == ["records/unavailable"]
        assert len(there.upstream.sent) == 0
        assert (await there.ask(call("ask_first", path="a"))).json["result"] == {"content": []}


async def test_the_use_of_an_approval_is_on_a_disk_before_its_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With `fsync: interval` a power failure takes the last second of the journal, and the approval would be unused."""
    async with bench(tmp_path, more=QUICK) as there:
        await there.ask(call("ask_first", path="a"))
        await approve(there)
        refuse_to_save(there, monkeypatch, "used")
        synced: list[tuple[int, int]] = []

        def sync(disk: Disk, fd: int) -> None:
            os.fsync(fd)
            synced.append((len(there.entries("call")), len(there.upstream.sent)))

        monkeypatch.setattr(Disk, "sync", sync)
        answer = await there.ask(call("ask_first", path="a"))

        assert answer.json["result"] == {"content": []}
        assert (2, 0) in synced


async def test_a_call_whose_approval_no_disk_has_as_used_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def sync(_disk: Disk, _fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    answers: list[Answer] = []
    sent: list[object] = []
    # The end of the gateway tells of its journal too, in the place of a failed assertion inside.
    with suppress(JournalError):
        async with bench(tmp_path, more=QUICK) as there:
            await there.ask(call("ask_first", path="a"))
            await approve(there)
            refuse_to_save(there, monkeypatch, "used")
            monkeypatch.setattr(Disk, "sync", sync)
            answers.append(await there.ask(call("ask_first", path="a")))
            sent.extend(there.upstream.sent)

    assert [answer.codes for answer in answers] == [["journal/unavailable"]]
    assert sent == []
