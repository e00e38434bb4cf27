"""The state on disk: each form is known, a copy is whole, and a copy that comes back allows nothing anew."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from gateway import config
from gateway.base.store.records import RecordKind
from gateway.config import Configuration, keys
from gateway.model.errors import GatewayError, StoreError
from gateway.record.journal import reader
from gateway.record.journal.chain import Chain
from gateway.surfaces.stored.backup import MANIFEST, RESTORED, Manifest, _compute_mac, back_up, restore
from gateway.surfaces.stored.check import FORMS, KINDS, check_state
from tests.requirements import requirement
from tests.unit.approving import QUICK, approve, desk
from tests.unit.harness import Bench, bench, call
from tests.unit.operating import perform

ROOT = Path(__file__).parents[4]


def moved(there: Configuration, folder: Path) -> Configuration:
    """Return the same configuration in another folder."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return there.model_copy(
        update={
            "state": folder / "state",
            "journal": there.journal.model_copy(update={"path": folder / "state/journal"}),
            "catalogue": there.catalogue.model_copy(update={"lock": folder / "catalogue.lock"}),
        }
    )


async def asked(there: Bench) -> list[str]:
    answer = await there.ask(call(name="ask_first"))
    return answer.codes if "_meta" in answer.json["result"] else []


async def stopped(there: Bench) -> None:
    await perform(
        there.gateway.control, "stops/stop", chosen={"scope": "agent", "name": "triage"}, reason="it mails strangers"
    )


async def states(found: Configuration) -> dict[str, str]:
    return {each.form.name: each.state for each in await check_state(found) if each.state != "ok"}


def test_every_kind_of_records_is_among_the_stored_forms():
    declared = sum(
        len(re.findall(r"= RecordKind\(", path.read_text("utf-8"))) for path in (ROOT / "gateway").rglob("*.py")
    )

    assert declared == len(KINDS) == len({kind.name for kind in KINDS})
    assert all(isinstance(kind, RecordKind) and kind.lost for kind in KINDS)
    assert {kind.name for kind in KINDS} < {form.name for form in FORMS}


@requirement("operations/backup")
async def test_an_approval_that_was_used_after_a_copy_is_not_used_again_from_the_copy(tmp_path: Path):
    (tmp_path / "one").mkdir(mode=0o700)
    async with bench(tmp_path / "one", more=QUICK) as there:
        await asked(there)
        await approve(there)
        await back_up(there.configuration, tmp_path / "copy", with_keys=True, now=time.time())
        assert await asked(there) == []
    (tmp_path / "two/state").mkdir(mode=0o700, parents=True)
    restore(moved(there.configuration, tmp_path / "two"), tmp_path / "copy")

    async with bench(tmp_path / "two", more=QUICK) as again:
        assert await asked(again) != []
        (open_again,) = desk(again).list_open()
        assert open_again.state == "pending"
        assert not (tmp_path / "two/state" / RESTORED).exists()
    withdrawn = [entry for entry in again.entries("approval") if entry["event"] == "withdrawn"]
    assert [entry["cause"] for entry in withdrawn] == ["restored"]
    assert reader.verify(tmp_path / "two/state/journal", key=keys.read_chain(again.configuration)).ok


async def test_a_copy_without_keys_is_restored_only_where_its_keys_are(tmp_path: Path):
    (tmp_path / "one").mkdir(mode=0o700)
    async with bench(tmp_path / "one") as there:
        await stopped(there)
        await back_up(there.configuration, tmp_path / "copy", with_keys=False, now=time.time())
    assert not (tmp_path / "copy/keys").exists()
    two = moved(there.configuration, tmp_path / "two")
    with pytest.raises(StoreError, match="the copy needs the key"):
        restore(two, tmp_path / "copy")
    two.state.mkdir(mode=0o700)
    for name in keys.FILES.values():
        shutil.copy(tmp_path / "one/state" / name, two.state / name)

    restore(two, tmp_path / "copy")

    async with bench(tmp_path / "two") as again:
        assert len(await perform(again.gateway.control, "stops/list")) == 1


async def test_a_restore_overwrites_nothing(tmp_path: Path):
    async with bench(tmp_path) as there:
        await stopped(there)
        await back_up(there.configuration, tmp_path / "copy", with_keys=True, now=time.time())
    with pytest.raises(StoreError, match="there is a state already"):
        restore(there.configuration, tmp_path / "copy")


@pytest.mark.parametrize(
    "path", ["state//etc/x", "state/../x", "journal/../x", "/etc/x", "keys/../../x", "state/journal-key"]
)
def test_a_copy_names_no_other_place(tmp_path: Path, path: str):
    """Whoever could change a copy would otherwise write anywhere with the gateway's rights."""
    copy = tmp_path / "copy"
    copy.mkdir()
    target = copy / path
    if not path.startswith("/") and "//" not in path:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    files = [{"path": path, "size": 1, "sha256": digest}]
    there = config.parse("state: state\n", base=tmp_path / "two")
    there.state.mkdir(parents=True, mode=0o700)
    (there.state / "journal-key").touch(0o600)
    (there.state / "journal-key").write_bytes(b"k" * 32)
    manifest: dict[str, Any] = {"format": 1, "release": "0", "made": "x", "ids": {}, "has_keys": True, "files": files}
    write_manifest(copy, manifest, key=b"k" * 32)

    with pytest.raises(GatewayError) if not target.is_file() else pytest.MonkeyPatch.context():
        restore(there, copy)

    after = {str(each.relative_to(tmp_path / "two")) for each in (tmp_path / "two").rglob("*")}
    assert after <= {"state", "state/journal-key", f"state/{RESTORED}"}


def write_manifest(copy: Path, manifest: dict[str, Any], *, key: bytes) -> None:
    """Write the manifest of a copy, as the holder of a key can."""
    made = msgspec.convert(manifest, Manifest)
    (copy / MANIFEST).write_bytes(msgspec.json.encode(structs.replace(made, mac=_compute_mac(made, key))))


@requirement("operations/backup")
@pytest.mark.parametrize("change", ["no stop", "a key more", "no ids", "another key of the MAC", "no MAC"])
async def test_whoever_can_write_to_a_copy_changes_nothing_in_what_is_restored(tmp_path: Path, change: str):
    """A copy lies where backups lie. Without a stop or with a key of a stranger, it would allow what nobody allowed."""
    (tmp_path / "one").mkdir(mode=0o700)
    copy = tmp_path / "copy"
    async with bench(tmp_path / "one") as there:
        await stopped(there)
        await back_up(there.configuration, copy, with_keys=False, now=time.time())
    two = moved(there.configuration, tmp_path / "two")
    two.state.mkdir(mode=0o700)
    for name in keys.FILES.values():
        shutil.copy(tmp_path / "one/state" / name, two.state / name)
    manifest = json.loads((copy / MANIFEST).read_text())
    if change == "no stop":
        manifest["files"] = [each for each in manifest["files"] if each["path"] != "state/records.db"]
    if change == "a key more":
        (copy / "keys").mkdir()
        (copy / "keys/sealing-key.1").write_bytes(b"s" * 32)
        digest = hashlib.sha256(b"s" * 32).hexdigest()
        manifest["files"].append({"path": "keys/sealing-key.1", "size": 32, "sha256": digest})
    manifest["has_keys"] = True
    if change == "no ids":
        manifest["ids"] = {}
    if change == "no MAC":
        del manifest["mac"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    if change == "another key of the MAC":
        write_manifest(copy, manifest, key=b"s" * 32)

    with pytest.raises(StoreError, match="the copy was changed, or belongs to another gateway"):
        restore(two, copy)

    assert {each.name for each in two.state.iterdir()} == {*keys.FILES.values()}


async def test_keys_of_a_changed_copy_do_not_stay_where_no_keys_were(tmp_path: Path):
    async with bench(tmp_path) as there:
        await back_up(there.configuration, tmp_path / "copy", with_keys=True, now=time.time())
    manifest = json.loads((tmp_path / "copy" / MANIFEST).read_text())
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps({**manifest, "made": "2020-01-01T00:00:00Z"}))
    two = moved(there.configuration, tmp_path / "two")

    with pytest.raises(StoreError, match="the copy was changed"):
        restore(two, tmp_path / "copy")

    assert [each for each in (tmp_path / "two").rglob("*") if each.is_file()] == []


@pytest.mark.parametrize("damage", ["edited", "missing", "unfinished", "later"])
async def test_a_copy_that_is_not_whole_is_refused(tmp_path: Path, damage: str):
    async with bench(tmp_path) as there:
        await back_up(there.configuration, tmp_path / "copy", with_keys=True, now=time.time())
    segment = tmp_path / "copy/journal/00000001.jsonl"
    manifest = tmp_path / "copy" / MANIFEST
    match damage:
        case "edited":
            segment.write_bytes(segment.read_bytes() + b"{}\n")
        case "missing":
            segment.unlink()
        case "unfinished":
            manifest.unlink()
        case _:
            manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))

    with pytest.raises(GatewayError):
        restore(moved(there.configuration, tmp_path / "two"), tmp_path / "copy")
    assert not (tmp_path / "two/state").exists()


async def test_a_start_on_a_restore_that_did_not_end_is_refused(tmp_path: Path):
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / RESTORED).write_text('{"made":"x","is_whole":false,"format":1}')
    with pytest.raises(StoreError, match="did not end"):
        async with bench(tmp_path):
            pytest.fail("it started")


async def test_a_copy_beside_a_writer_ends_with_a_whole_line(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call())
        with (tmp_path / "state/journal/00000001.jsonl").open("ab") as half:
            before = half.tell()
            half.write(b'{"seq":')
        await back_up(there.configuration, tmp_path / "copy", with_keys=True, now=time.time())
        with (tmp_path / "state/journal/00000001.jsonl").open("ab") as half:
            half.truncate(before)
    assert reader.verify(tmp_path / "copy/journal", key=keys.read_chain(there.configuration)).ok


@requirement("operations/state")
async def test_a_record_of_another_key_and_one_of_a_later_release_are_named(tmp_path: Path):
    async with bench(tmp_path, more=QUICK) as there:
        await stopped(there)
        await asked(there)
    assert await states(there.configuration) == {}
    records = tmp_path / "state/records.db"

    def edit(statement: str, *values: Any) -> None:
        with sqlite3.connect(records) as database:
            database.execute(statement, values)
        database.close()

    edit("update records set value = zeroblob(99) where kind = 'stop'")
    edit("insert into records values ('sorrow', 'x', 1, x'00', null)")
    assert await states(there.configuration) == {"stop": "fail", "sorrow": "fail"}
    with pytest.raises(StoreError, match=r"a later release .* records of the kind sorrow"):
        async with bench(tmp_path, more=QUICK):
            pytest.fail("it started")
    edit("delete from records where kind = 'sorrow'")
    with pytest.raises(StoreError, match="cannot be read: stop-") as caught:
        async with bench(tmp_path, more=QUICK):
            pytest.fail("it started")
    assert "opagate journal state forget stop" in caught.value.remedy
    edit("pragma user_version = 9")
    assert await states(there.configuration) == {"records": "fail"}


@requirement("operations/state")
async def test_a_journal_of_a_later_release_is_named_and_does_not_start(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call())
    segment = tmp_path / "state/journal/00000001.jsonl"
    chain = Chain.of(keys.read_chain(there.configuration))
    heading, *_ = segment.read_bytes().splitlines()
    fields = {
        name: value
        for name, value in json.loads(heading).items()
        if name not in {"seq", "time", "kind", "prev", "check"}
    }
    made = chain.line(1, "t", "segment", json.dumps({**fields, "format": 2}).encode(), "0" * 64)
    segment.write_bytes(made + b"\n")

    assert (await states(there.configuration))["journal"] == "fail"
    with pytest.raises(GatewayError, match="a later release of the gateway wrote"):
        async with bench(tmp_path):
            pytest.fail("it started")


async def test_snapshots_that_cannot_be_read_cost_nothing(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call())
    with sqlite3.connect(tmp_path / "state/history/tasks.db") as database:
        database.execute("update tasks set seq = 0")
    database.close()

    assert await states(there.configuration) == {"snapshots": "warn"}
    async with bench(tmp_path) as again:
        assert len(again.gateway.history.tasks.all()) == 1
