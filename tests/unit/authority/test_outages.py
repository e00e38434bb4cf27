"""Leases while the journal cannot be written."""

from pathlib import Path

import pytest

from gateway.authority.leases import Lent
from tests.unit.authority.lending import Lending


@pytest.fixture
def lending(tmp_path: Path) -> Lending:
    return Lending(tmp_path)


async def lent(lending: Lending) -> None:
    assert isinstance(await lending.leases.lend("bao", lending.request()), Lent)


async def settled(lending: Lending) -> None:
    await lending.leases._ender.settle(5.0)  # pyright: ignore[reportPrivateUsage]


async def test_a_dead_journal_keeps_no_credential_alive(lending: Lending):
    await lent(lending)
    lending.is_journal_down = lambda _event: True
    lending.leases.end_task("t1", "journal-outage")
    await settled(lending)

    assert lending.broker.ended
    assert lending.leases.all() == ()


async def test_an_end_in_an_outage_of_the_journal_is_recorded_after_it(lending: Lending):
    await lent(lending)
    lending.is_journal_down = lambda _event: True
    lending.leases.end_task("t1", "task-completed")
    await settled(lending)
    assert lending.events() == ["requested", "issued"]
    assert len(await lending.stored()) == 1, "a crash now would hide the end"

    await lending.leases.catch_up()
    lending.is_journal_down = lambda event: event == "revoked"
    await lending.leases.catch_up()
    assert lending.events()[2:] == ["ending"]
    lending.is_journal_down = lambda _event: False
    await lending.leases.catch_up()

    assert lending.events()[2:] == ["ending", "revoked"]
    assert await lending.stored() == ()
    await lending.leases.catch_up()
    assert len(lending.entries) == 4


async def test_a_crash_in_an_outage_of_the_journal_hides_no_end(lending: Lending):
    await lent(lending)
    lending.is_journal_down = lambda _event: True
    lending.leases.end_task("t1", "task-completed")
    await settled(lending)
    lending.is_journal_down = lambda _event: False

    lending.start()
    assert await lending.restore() == 1
    await settled(lending)

    assert lending.events()[-1] == "revoked"


async def test_an_end_after_an_outage_is_recorded_after_the_entries_of_the_outage(lending: Lending):
    """The journal came back between the beginning and the proof of an end: the last entry has to be the proof."""
    await lent(lending)
    failures = iter([True])
    lending.is_journal_down = lambda _event: next(failures, False)
    lending.leases.end_task("t1", "journal-outage")
    await settled(lending)

    assert lending.events() == ["requested", "issued", "ending", "revoked"]
    assert await lending.stored() == ()
