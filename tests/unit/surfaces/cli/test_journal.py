"""`opagate journal prune`, and what `opagate check` says of a journal, in the process of the test."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway import config
from gateway.config import JournalSettings, keys
from gateway.config.keys import Keys
from gateway.history.store import Checkpoint, Row, Store
from gateway.record.journal import reader
from gateway.record.journal.storage import segments
from gateway.record.journal.writer import Journal
from tests.unit.surfaces.cli.conftest import Status

DAY = 86_400.0


@pytest.fixture
def opagate(status: Status, tmp_path: Path) -> Status:
    """Runs a command about the journal in a folder with a configuration; its exit status."""
    (tmp_path / "gateway.yaml").write_text("journal: {path: journal}\n", "utf-8")
    return lambda *words: status("journal", *words, "--config", "gateway.yaml")


def loaded(folder: Path, *, begun: bool) -> Keys:
    return keys.load(config.parse("journal: {path: journal}", base=folder), begun=begun)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of entries from ten days ago until now, in many segments."""
    settings = JournalSettings.model_validate(
        {"path": tmp_path / "journal", "fsync": "never", "segment": 900, "compress": False}
    )
    made = loaded(tmp_path, begun=False)
    now = time.time()
    hours = iter(range(1000))

    async def written() -> None:
        journal = Journal.open(
            settings,
            key=made.chain,
            fingerprints=made.fingerprints,
            clock=lambda: now - 10 * DAY + next(hours) * 3600,
        )
        for number in range(230):
            await journal.append("policy", {"name": "p", "revision": str(number)})
        await journal.close()

    asyncio.run(written())
    return tmp_path / "journal"


def test_old_segments_go_into_the_archive_and_both_can_be_verified(
    opagate: Status, folder: Path, capsys: pytest.CaptureFixture[str]
):
    count = len(segments(folder))

    assert opagate("prune", "--before", "5d", "--archive", "kept", "--json") == 0

    done = json.loads(capsys.readouterr().out)
    assert 0 < done["segments"] < count
    assert done["floor"]["segment"] == done["segments"]
    assert len(segments(folder)) == count - done["segments"]
    assert opagate("verify") == 0
    assert opagate("verify", "--journal", "kept") == 0


def test_nothing_is_removed_for_good_without_a_word(opagate: Status, folder: Path, capsys: pytest.CaptureFixture[str]):
    count = len(segments(folder))

    assert opagate("prune", "--before", "5d") == 2
    assert "gone for good" in capsys.readouterr().err
    assert len(segments(folder)) == count

    assert opagate("prune", "--before", "5d", "--yes") == 0
    assert "the journal begins after entry" in capsys.readouterr().err
    assert len(segments(folder)) < count
    assert opagate("verify") == 0


@pytest.mark.parametrize("before", ["47h", "1s"])
def test_what_open_tasks_may_have_done_stays(
    opagate: Status, folder: Path, before: str, capsys: pytest.CaptureFixture[str]
):
    count = len(segments(folder))

    assert opagate("prune", "--before", before, "--yes") == 2
    assert "the last two days are kept" in capsys.readouterr().err
    assert len(segments(folder)) == count


def test_without_the_key_nothing_is_pruned(
    opagate: Status, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "state/journal-key").unlink()

    assert opagate("prune", "--before", "5d", "--yes") == 2
    assert "there is no journal key" in capsys.readouterr().err
    assert not (folder / "floor.json").exists()


def test_a_journal_with_nothing_old_is_left_as_it_is(opagate: Status, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert opagate("prune", "--before", "30d", "--yes") == 0
    assert "0 segments" in capsys.readouterr().err
    assert not (folder / "floor.json").exists()


def said_of_the_journal(status: Status, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    capsys.readouterr()
    status("check", "--config", "gateway.yaml", "--json")
    findings = json.loads(capsys.readouterr().out)["findings"]
    return next((item["state"], item["found"]) for item in findings if item["what"] == "journal")


def test_a_journal_with_which_no_gateway_would_start_is_no_good_one(
    opagate: Status, status: Status, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert said_of_the_journal(status, capsys)[0] == "ok"

    key = tmp_path / "state/journal-key"
    key.rename(tmp_path / "copy")
    assert said_of_the_journal(status, capsys) == (
        "fail",
        "journal was written with a key that is not there: state/journal-key",
    )

    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    state, message = said_of_the_journal(status, capsys)
    assert state == "fail"
    assert message.endswith("the segment was written with another key")


def test_a_head_that_can_be_none_is_not_looked_for(opagate: Status, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert opagate("verify", "--head", "9f2c") == 2
    assert "'9f2c' is no head; write all 64 digits of one" in capsys.readouterr().err


def test_a_head_that_the_journal_does_not_have_is_one_problem(
    opagate: Status, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert opagate("verify", "--head", "f" * 64) == 1
    assert "is not as it was written: 1 problem\n" in capsys.readouterr().err


# --- a journal beside the snapshots of history ---------------------------------------------------------


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Store:
    """Snapshots that know the journal up to its last entry: one task does, the checkpoint only half of it."""
    found = loaded(tmp_path, begun=True)
    whole = reader.verify(folder, key=found.chain)
    made = Store(tmp_path / "state/history", found.snapshots)
    rows = (Row("t1", whole.entries, b"meta", b"state"), Row("t2", 1, b"meta", b"state"))
    made.save(Checkpoint(whole.journal or "", whole.entries // 2, rows, ()))
    return made


def _cut(folder: Path, lines: int) -> None:
    *_, (_, last) = segments(folder)
    kept = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(kept[:-lines]))


def test_a_journal_that_ends_before_the_snapshots_does_not_verify(
    opagate: Status, folder: Path, store: Store, capsys: pytest.CaptureFixture[str]
):
    assert opagate("verify") == 0
    assert "of history, up to entry" in capsys.readouterr().out
    _cut(folder, 1)

    assert opagate("verify", "--json") == 1

    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], [problem["fault"] for problem in found["problems"]]) == (False, ["cut"])
    assert found["known"] == found["entries"] + 1
    assert opagate("verify") == 1
    assert "missing at the end" in capsys.readouterr().out


def test_an_archive_is_not_compared_with_the_snapshots(opagate: Status, folder: Path, store: Store):
    _cut(folder, 1)

    assert opagate("verify", "--journal", "journal") == 0


def test_snapshots_that_were_edited_do_not_verify(opagate: Status, store: Store, capsys: pytest.CaptureFixture[str]):
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("update checkpoints set seq = 1")

    assert opagate("verify", "--json") == 1
    assert [problem["fault"] for problem in json.loads(capsys.readouterr().out)["problems"]] == ["snapshots-edited"]


def test_snapshots_that_cannot_be_read_are_told(opagate: Status, store: Store, capsys: pytest.CaptureFixture[str]):
    store.path.write_bytes(b"no database" * 100)

    assert opagate("verify") == 0
    assert "was compared with nothing" in capsys.readouterr().err


def test_without_snapshots_the_journal_is_checked_alone(
    opagate: Status, store: Store, folder: Path, capsys: pytest.CaptureFixture[str]
):
    store.discard()
    _cut(folder, 1)

    assert opagate("verify", "--json") == 0
    assert json.loads(capsys.readouterr().out)["known"] is None


def test_an_export_goes_on_after_the_last_entry_and_refuses_to_after_a_later_one(
    opagate: Status, folder: Path, capsys: pytest.CaptureFixture[str]
):
    last = max(int(str(entry["seq"])) for entry in reader.entries(folder))

    for form in ("entries", "ocsf"):
        assert opagate("export", "--format", form, "--after", str(last)) == 0
        assert capsys.readouterr().out == ""
        assert (
            opagate("export", "--format", form, "--after", str(last + 1), "--output", str(folder.parent / "made")) != 0
        )
        assert f"ends before entry {last + 1}" in capsys.readouterr().err
    assert not (folder.parent / "made").exists()
