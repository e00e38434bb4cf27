"""Whole gateways with keys that are shared, swapped or replaced."""

from __future__ import annotations

import base64
import errno
import os
import secrets
import shutil
from pathlib import Path
from random import Random

import pytest

from benchmarks.credentials.examples import example
from gateway.base.keys.key_ring import find_signer
from gateway.config import keys
from gateway.config.keys import FILES, OVERLAP
from gateway.model.errors import GatewayError, JournalError
from gateway.record.journal import reader
from gateway.record.journal.storage import Disk
from gateway.surfaces.cli.keys import find_keys
from tests.requirements import requirement
from tests.unit.harness import Bench, bench, call, message, result
from tests.unit.operating import perform

APPROVALS = "approvals: {hold: 20ms}\n"
SECRET = example("ghp_{w:30}{crc62}", Random(5))
GIVEN = "keys: {sessions: ../sessions, fingerprints: ../fingerprints}\n"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder for two gateways, with keys for both."""
    for name in ("sessions", "fingerprints"):
        (tmp_path / name).write_bytes(secrets.token_bytes(32))
        (tmp_path / name).chmod(0o600)
    for name in ("one", "two"):
        (tmp_path / name).mkdir(mode=0o700)
    return tmp_path


async def opened(there: Bench) -> bytes:
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    return dict((await there.ask(message("initialize", **params))).headers)[b"mcp-session-id"]


def fingerprint(there: Bench) -> str:
    (entry,) = (entry for entry in there.entries("call") if entry["found"].get("credentials"))
    return entry["found"]["credentials"][0]["fingerprint"]


@requirement("operations/keys")
async def test_gateways_with_shared_keys_know_each_others_sessions_and_credentials(shared: Path):
    async with bench(shared / "one", more=GIVEN) as one, bench(shared / "two", more=GIVEN) as two:
        sealed = await opened(one)
        answer = await two.ask(message("ping"), (b"mcp-session-id", sealed))
        for there in (one, two):
            await there.ask(call(path=SECRET))

        assert (answer.status, two.upstream.sent[0].session) == (200, "s-1")
        assert fingerprint(one) == fingerprint(two)
    assert {path.name for path in (shared / "one/state").iterdir()} & set(FILES.values()) == {
        "journal-key",
        "sealing-key",
        "gateway-key.pem",
    }
    assert (shared / "one/state/journal-key").read_bytes() != (shared / "two/state/journal-key").read_bytes()


async def test_gateways_with_keys_of_their_own_do_not(shared: Path):
    async with bench(shared / "one") as one, bench(shared / "two") as two:
        sealed = await opened(one)
        answer = await two.ask(message("ping"), (b"mcp-session-id", sealed))
        for there in (one, two):
            await there.ask(call(path=SECRET))

        assert answer.codes == ["session/unknown"]
        assert fingerprint(one) != fingerprint(two)


@requirement("operations/keys")
@pytest.mark.parametrize(
    ("swapped", "problem"),
    [
        (("journal-key", "fingerprints-key"), "written with another key"),
        (("sessions-key", "fingerprints-key"), "made with another key of fingerprints"),
    ],
)
async def test_a_gateway_whose_keys_were_swapped_does_not_start(tmp_path: Path, swapped: tuple[str, str], problem: str):
    async with bench(tmp_path) as there:
        await there.ask(call())
    one, other = (tmp_path / "state" / name for name in swapped)
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)

    with pytest.raises(JournalError, match=problem):
        async with bench(tmp_path):
            pytest.fail("it started")


async def test_with_a_new_journal_a_new_key_of_fingerprints_makes_no_use_of_old_snapshots(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call())
    shutil.move(tmp_path / "state/journal", tmp_path / "away")
    (tmp_path / "state/fingerprints-key").write_bytes(secrets.token_bytes(32))

    async with bench(tmp_path) as there:
        assert there.gateway.history.tasks.all() == ()


def newest(there: Bench, name: keys.Name) -> bytes:
    return (there.folder / "state" / FILES[name]).read_bytes()


@requirement("operations/keys")
async def test_every_key_is_replaced_while_a_gateway_serves(tmp_path: Path):
    async with bench(tmp_path, more=APPROVALS) as there:
        sealed = await opened(there)
        before = {name: newest(there, name) for name in keys.ROTATED}
        for name in keys.ROTATED:
            changed = await perform(there.gateway.control, "keys/rotate", key=name)
            assert changed["kept"].endswith(f"{FILES[name]}.1")
            # A session that was sealed with the earlier key goes on, and calls are decided and recorded.
            assert (await there.ask(message("ping"), (b"mcp-session-id", sealed))).status == 200
            assert (await there.ask(call())).status == 200
        assert all(newest(there, name) != before[name] for name in keys.ROTATED)
        assert (await opened(there)) != sealed

    async with bench(tmp_path, more=APPROVALS) as there:
        assert (await there.ask(message("ping"), (b"mcp-session-id", sealed))).status == 200
    found = reader.verify(tmp_path / "state/journal", key=keys.read_chain(there.configuration))
    assert (found.ok, found.segments) == (True, 2)
    rotations = [entry for entry in there.entries("key") if entry["event"] == "rotated"]
    assert [entry["key"] for entry in rotations] == list(keys.ROTATED)
    assert {entry["by"]["id"] for entry in rotations} == {"olga"}


async def test_a_change_of_keys_that_fails_is_in_the_journal_with_its_person(tmp_path: Path):
    async with bench(tmp_path) as there:
        (tmp_path / "state/journal-key").rename(tmp_path / "away")
        for do, fields in (("keys/rotate", {"key": "chain"}), ("keys/reload", {})):
            assert isinstance(await perform(there.gateway.control, do, **fields), str)
        (tmp_path / "away").rename(tmp_path / "state/journal-key")

        asked = [(entry["event"], entry["by"]["id"], entry["fields"]) for entry in there.entries("operator")]
        assert asked == [("keys/rotate", "olga", {"key": "chain"}), ("keys/reload", "olga", {})]


def is_full(_disk: Disk, _fd: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_key_is_not_replaced_without_a_record_of_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path) as there:
        before = newest(there, "sealing")
        with monkeypatch.context() as patched:
            patched.setattr(Disk, "write", is_full)
            found = await perform(there.gateway.control, "keys/rotate", key="sealing")

        assert isinstance(found, str)
        assert newest(there, "sealing") == before


async def test_records_are_sealed_anew_and_then_need_no_earlier_key(tmp_path: Path):
    async with bench(tmp_path, more=APPROVALS) as there:
        await perform(
            there.gateway.control,
            "stops/stop",
            chosen={"scope": "agent", "name": "triage"},
            reason="it mails strangers",
        )
        changed = await perform(there.gateway.control, "keys/rotate", key="sealing")
        assert changed["resealed"] >= 1
        uses = {each.file: each.used for each in await find_keys(there.configuration) if each.key == "sealing"}
    assert [used for used in uses.values() if used == "nothing"] == ["nothing"]
    (tmp_path / "state/sealing-key.1").unlink()

    async with bench(tmp_path, more=APPROVALS) as there:
        (stop,) = await perform(there.gateway.control, "stops/list")
        assert stop["reason"] == "it mails strangers"


async def test_a_task_token_of_the_key_before_is_accepted_and_a_new_one_is_signed_with_it_at_first(tmp_path: Path):
    async with bench(tmp_path) as there:
        earlier = there.gateway.task_tokens
        kid = keys.load_access(there.configuration).newest.kid
        await perform(there.gateway.control, "keys/rotate", key="tokens")
        access = keys.load_access(there.configuration)
        assert [each.kid for each in access.keys][1] == kid
        assert find_signer(access, there.gateway.clock()).kid == kid
        assert find_signer(access, there.gateway.clock() + OVERLAP).kid == access.newest.kid
        assert there.gateway.task_tokens is earlier


async def test_keys_of_files_that_something_else_writes_are_taken_over(tmp_path: Path):
    async with bench(tmp_path) as there:
        state = tmp_path / "state"
        (state / "journal-key").rename(state / "journal-key.1")
        (state / "journal-key").write_bytes(secrets.token_bytes(32))
        (state / "journal-key").chmod(0o600)
        await perform(there.gateway.control, "keys/reload")
        assert (await there.ask(call())).status == 200
    assert reader.verify(state / "journal", key=(state / "journal-key").read_bytes()).problem_count == 1
    assert reader.verify(state / "journal", key=keys.read_chain(there.configuration)).ok


@pytest.mark.parametrize("name", ["journal-key", "fingerprints-key", "sealing-key"])
async def test_a_reload_without_a_key_is_refused_and_changes_nothing(tmp_path: Path, name: str):
    async with bench(tmp_path) as there:
        file = tmp_path / "state" / name
        file.rename(tmp_path / "away")
        assert isinstance(await perform(there.gateway.control, "keys/reload"), str)
        assert (await there.ask(call())).status == 200
        (tmp_path / "away").rename(file)
    assert reader.verify(tmp_path / "state/journal", key=keys.read_chain(there.configuration)).ok


async def test_a_reload_with_another_key_of_fingerprints_is_refused(tmp_path: Path):
    async with bench(tmp_path) as there:
        file = tmp_path / "state/fingerprints-key"
        before = file.read_bytes()
        file.write_bytes(secrets.token_bytes(32))
        assert isinstance(await perform(there.gateway.control, "keys/reload"), str)
        file.write_bytes(before)


async def test_no_answer_shows_a_key_that_a_rotation_made(tmp_path: Path):
    async with bench(tmp_path) as there:
        await perform(there.gateway.control, "keys/rotate", key="sealing")
        fresh = base64.b64encode(newest(there, "sealing")).decode()
        there.upstream.script = lambda request: result(request, {"content": [{"type": "text", "text": f"key {fresh}"}]})
        answer = await there.ask(call())
        assert fresh not in str(answer.json)


async def test_a_missing_sealing_key_of_sealed_records_is_not_made_anew(tmp_path: Path):
    """Open leases would not be ended, and ended logins would come back."""
    async with bench(tmp_path, more=APPROVALS) as there:
        await perform(
            there.gateway.control,
            "stops/stop",
            chosen={"scope": "agent", "name": "triage"},
            reason="it mails strangers",
        )
    (tmp_path / "state/sealing-key").unlink()

    with pytest.raises(GatewayError, match="sealed with a key that is not there") as caught:
        async with bench(tmp_path, more=APPROVALS):
            pytest.fail("it started")
    assert "opagate journal state forget all" in caught.value.remedy
    assert not (tmp_path / "state/sealing-key").exists()
