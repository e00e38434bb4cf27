"""Whole gateways with keys that are shared, swapped or replaced."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from random import Random

import pytest

from benchmarks.credentials.examples import example
from gateway.config.keys import FILES
from gateway.model.errors import JournalError
from tests.requirements import requirement
from tests.unit.harness import Bench, bench, call, message, result

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
