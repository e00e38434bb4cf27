"""Values that a killed gateway needs to revoke: sealed on disk until the end, and leases found by the token of the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model.errors import StoreError
from tests.unit.authority.lending import Lending, ScriptedBroker
from tests.unit.authority.test_leases import lent, settled
from tests.unit.base.store.keeping import edit


@pytest.fixture
def lending(tmp_path: Path) -> Lending:
    return Lending(tmp_path)


@pytest.mark.parametrize(
    ("keeps", "kind", "is_kept"), [(True, "exchange", True), (True, "openbao", False), (False, "exchange", False)]
)
async def test_a_kept_value_is_sealed_and_shown_to_its_issuer_after_a_restart(
    tmp_path: Path, kind: str, *, keeps: bool, is_kept: bool
):
    lending = Lending(tmp_path, broker=ScriptedBroker(kind=kind), keeps_values=keeps)
    await lent(lending)
    before = lending.leases
    lending.start()
    await lending.restore()
    on_disk = written_in(tmp_path)
    await settled(lending)

    ((_, shown),) = lending.broker.ended
    assert (None if shown is None else shown.value) == ("secret-1" if is_kept else None)
    assert b"secret-1" not in on_disk
    assert await lending.stored_values() == {}
    await before.drain(0.0)


def written_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_value_of_another_lease_does_not_open(tmp_path: Path):
    lending = Lending(tmp_path, keeps_values=True)
    await lent(lending)
    await lending.store.put(lending.leases.all()[0])
    edit(tmp_path, "update records set id = 'l2' where kind = 'value of a lease'")
    edit(
        tmp_path, "insert into records select 'value of a lease', id, 9, value, null from records where kind = 'lease'"
    )

    with pytest.raises(StoreError, match="2 records of the kind 'value of a lease' cannot be read: l1, l2"):
        await lending.stored_values()


async def test_a_value_without_a_lease_is_removed_at_the_start(tmp_path: Path):
    lending = Lending(tmp_path, keeps_values=True)
    await lent(lending)
    edit(tmp_path, "delete from records where kind = 'lease'")
    lending.start()

    assert await lending.restore() == 0
    assert await lending.stored_values() == {}
