"""The folders and the journals of workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.config import Configuration
from gateway.model.errors import ConfigurationError, JournalError
from gateway.record.journal import reader
from gateway.surfaces.stored.backup import back_up
from gateway.surfaces.stored.workers import configure_worker, list_gateways, list_journals


@pytest.fixture
def settings(tmp_path: Path) -> Configuration:
    return config.parse("{}", base=tmp_path)


def begin_journal(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "00000001.jsonl").touch()


def test_workers_share_all_keys_but_that_of_the_journal(settings: Configuration):
    one, two = (configure_worker(settings, number, None) for number in (1, 2))

    assert (one.state, two.state) == (settings.state / "worker-1", settings.state / "worker-2")
    assert one.journal.path != two.journal.path
    assert one.keys == two.keys
    assert one.keys.chain is None
    assert one.keys.sealing == settings.state / "sealing-key"
    assert one.control_socket == settings.control_socket
    assert two.control_socket == two.state / "control.sock"


def test_the_journals_are_those_of_a_gateway_alone_and_of_workers(settings: Configuration):
    assert list_gateways(settings) == [settings]
    for name in ("worker-10", "worker-2", "worker-x"):
        begin_journal(settings.journal.path / name)
    assert [each.journal.path.name for each in list_gateways(settings)] == ["worker-2", "worker-10"]
    begin_journal(settings.journal.path / "worker-3")
    (settings.journal.path / "00000001.jsonl").touch()
    assert list_gateways(settings)[0] == settings
    assert len(list_gateways(settings)) == 4


def test_each_worker_reads_the_journals_of_the_others(settings: Configuration):
    one = configure_worker(settings, 1, None, count=3)

    assert {name: peer.path.name for name, peer in one.journal.peers.items()} == {
        "worker-2": "worker-2",
        "worker-3": "worker-3",
    }
    assert one.journal.peers["worker-2"].key == settings.state / "worker-2/journal-key"


def test_a_peer_has_its_own_name_and_key(settings: Configuration, tmp_path: Path):
    (tmp_path / "two.key").write_bytes(b"2" * 32)
    (tmp_path / "two.key").chmod(0o600)
    peers = {"two": {"path": str(tmp_path / "two"), "key": str(tmp_path / "two.key")}, "three": {"path": "three"}}
    found = list_journals(settings.with_changes(journal={"peers": peers}))

    assert [(each.name, each.keys) for each in found[1:]] == [("two", (b"2" * 32,)), ("three", None)]
    (tmp_path / "two.key").unlink()
    with pytest.raises(JournalError, match="there is no key of a journal"):
        list_journals(settings.with_changes(journal={"peers": peers}))


def test_the_folder_of_workers_is_no_journal_without_entries(settings: Configuration):
    folder = settings.journal.path
    folder.mkdir(parents=True)
    assert list(reader.entries(folder)) == []
    begin_journal(folder / "worker-1")

    with pytest.raises(JournalError, match="the journals of workers are in worker-1"):
        list(reader.entries(folder))
    assert list(reader.entries(folder / "worker-1")) == []


async def test_a_copy_that_would_lack_the_state_of_workers_is_refused(settings: Configuration, tmp_path: Path):
    (settings.state / "worker-1").mkdir(parents=True)

    with pytest.raises(ConfigurationError, match="this copy would lack their journals"):
        await back_up(settings, tmp_path / "copy", with_keys=False, now=0.0)
    assert not (tmp_path / "copy").exists()
