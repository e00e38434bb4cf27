"""The register of endorsements: its journal, its file, its time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals.endorsement import EndorsementSelection, read_given
from gateway.authority.approvals.endorsements import Endorsements
from gateway.model.errors import JournalError
from tests.unit.authority.approvals.making import (
    BOB,
    Recorder,
    endorsement,
    make_endorsements,
)
from tests.unit.base.store.keeping import damage_register, edit, put_back_endorsements, read_endorsements
from tests.unit.clock import Clock


@pytest.fixture
def journal() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def ticks() -> Clock:
    return Clock(0.0)


@pytest.fixture
def known(tmp_path: Path, journal: Recorder, clock: Clock, ticks: Clock) -> Endorsements:
    return make_endorsements(tmp_path, journal, clock, ticks)


async def restored(folder: Path, entries: Any = (), clock: Clock | None = None) -> Endorsements:
    again = make_endorsements(folder, Recorder(), clock or Clock(1_000.0))
    await again.restore()
    for entry in entries:
        again.replay(entry)
    return again


# --- how long ----------------------------------------------------------------------------------------


async def test_an_endorsement_ends_at_its_time(known: Endorsements, journal: Recorder, clock: Clock):
    await known.give(endorsement())
    clock.now = 1_999.9
    assert known.find(endorsement().binding) is not None
    clock.now = 2_000.0
    assert known.find(endorsement().binding) is None
    await known.sweep()

    assert journal.events == ["given", "expired"]
    assert not known.has_some("k1", "weekly-report", "mail/send")


async def test_a_clock_that_is_set_back_lets_nothing_live_longer(known: Endorsements, clock: Clock, ticks: Clock):
    await known.give(endorsement())
    clock.now = 0.0
    ticks.now = 999.0
    assert known.get("e1") is not None
    ticks.now = 1_000.0
    assert known.get("e1") is None


async def test_a_clock_that_is_set_back_over_a_restart_revives_nothing(
    known: Endorsements, tmp_path: Path, clock: Clock
):
    await known.give(endorsement())
    clock.now = 2_000.0
    await known.sweep()
    await known.write_down(("j", 1))

    again = await restored(tmp_path, clock=Clock(1_001.0))

    assert again.list() == []
    assert again.now() >= 2_000.0


# --- the record --------------------------------------------------------------------------------------


async def test_the_journal_gives_back_all_but_the_values(known: Endorsements, journal: Recorder, tmp_path: Path):
    given = endorsement()
    await known.give(given)
    assert "boss@corp.example" not in str(journal.entries)

    again = await restored(tmp_path / "lost", journal.entries)

    assert again.list() == [structs.replace(given, shown=None)]


async def test_the_journal_brings_an_older_file_up_to_date(known: Endorsements, journal: Recorder, tmp_path: Path):
    await known.give(endorsement("e1"))
    older = read_endorsements(tmp_path)
    await known.revoke(EndorsementSelection(id="e1"), BOB)
    await known.give(endorsement("e2"))
    put_back_endorsements(tmp_path, older)

    assert [one.id for one in (await restored(tmp_path)).list()] == ["e1"]
    assert [one.id for one in (await restored(tmp_path, journal.entries)).list()] == ["e2"]


async def test_a_new_answer_takes_the_place_of_an_earlier_one(known: Endorsements, journal: Recorder, tmp_path: Path):
    await known.give(endorsement("e1"))
    await known.give(endorsement("e2", binding={"values": "hmac-sha256:e1"}))

    assert [one.id for one in known.list()] == ["e2"]
    assert journal.entries[-1]["replaces"] == "e1"
    assert [one.id for one in (await restored(tmp_path, journal.entries)).list()] == ["e2"]


async def test_the_use_of_an_endorsement_is_in_the_call_entry(known: Endorsements, tmp_path: Path):
    await known.give(endorsement())
    call: dict[str, Any] = {"kind": "call", "endorsement": {"id": "e1"}, "history": {"at": 1_500.0}}

    for effect, used in (("ask", None), ("allow", 1_500.0)):
        again = await restored(tmp_path, [{**call, "effect": effect}, {"kind": "settled", "id": "c"}])
        assert [one.used for one in again.list()] == [used]


@pytest.mark.parametrize("damage", [{"binding": {}}, {"granted": "now"}, {"votes": None}])
async def test_a_damaged_entry_is_told(known: Endorsements, journal: Recorder, damage: dict[str, Any]):
    await known.give(endorsement())
    with pytest.raises(ValueError, match="no endorsement"):
        read_given({**journal.entries[0], **damage})


# --- failures ----------------------------------------------------------------------------------------


async def test_without_a_journal_nothing_is_given(known: Endorsements, journal: Recorder):
    journal.failing = True
    with pytest.raises(JournalError):
        await known.give(endorsement())
    assert known.list() == []


async def test_without_a_journal_nothing_is_revoked(known: Endorsements, journal: Recorder):
    await known.give(endorsement())
    journal.failing = True
    with pytest.raises(JournalError):
        await known.revoke(EndorsementSelection(all=True), BOB)
    assert [one.id for one in known.list()] == ["e1"]


async def test_an_endorsement_is_out_of_use_before_the_journal_learns_of_its_end(
    known: Endorsements, journal: Recorder, monkeypatch: pytest.MonkeyPatch
):
    await known.give(endorsement())
    seen: list[object] = []

    async def append(kind: str, fields: Any) -> None:
        seen.append(known.find(endorsement().binding))
        await journal.append(kind, fields)

    monkeypatch.setattr(known, "_append", append)
    await known.revoke(EndorsementSelection(all=True), BOB)

    assert seen == [None]


async def test_parallel_revocations_end_an_endorsement_once(known: Endorsements, journal: Recorder):
    await known.give(endorsement())
    found = await asyncio.gather(*(known.revoke(EndorsementSelection(all=True), BOB) for _ in range(20)))

    assert sorted(map(len, found)) == [0] * 19 + [1]
    assert journal.events == ["given", "revoked"]


async def test_endorsements_that_do_not_open_endorse_nothing(tmp_path: Path, known: Endorsements):
    await known.give(endorsement())
    assert b"boss" not in b"".join(value for *_, value in read_endorsements(tmp_path))
    damage_register(tmp_path)
    assert (await restored(tmp_path)).list() == []


async def test_an_old_record_put_back_beside_newer_ones_endorses_nothing(tmp_path: Path, known: Endorsements):
    await known.give(endorsement())
    (old,) = [row for row in read_endorsements(tmp_path) if row[0] == "endorsement"]
    await known.revoke(EndorsementSelection(all=True), BOB)
    edit(tmp_path, "insert into records values (?, ?, ?, ?, null)", *old)
    assert (await restored(tmp_path)).list() == []
