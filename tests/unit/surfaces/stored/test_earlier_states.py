"""The state that earlier builds wrote, started by this one: it goes on, or the start says what is lost and what to do.

Each is of a gateway that was killed with open leases, a held call, a stop and a declared task. `tests/stored/README.md` says
how these files are made.
"""

from __future__ import annotations

import os
import re
import tarfile
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from gateway import config
from gateway.config import Configuration, keys
from gateway.model.errors import GatewayError, StoreError
from gateway.record.journal import reader, storage
from gateway.surfaces import app
from gateway.surfaces.cli.keys import find_keys
from gateway.surfaces.stored.check import EARLIER, check_state, read_present_keys
from tests.requirements import requirement
from tests.unit.operating import perform

STORED = Path(__file__).parents[3] / "stored"
RELEASES = sorted(path.name.removesuffix(".tar.gz") for path in STORED.glob("*.tar.gz"))
KILLED = 1_796_119_350.0
"""When the gateway of 0.2.0.dev was killed: its tasks, leases and questions were open then."""
ENDED = {"revoked", "expired"}


def unpack(release: str, folder: Path) -> Configuration:
    """Return the configuration of a gateway with the state of a release."""
    with tarfile.open(STORED / f"{release}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "state").chmod(0o700)
    text = (folder / "state/gateway.yaml").read_text("utf-8")
    (folder / "grants.yaml").write_text((folder / "state/grants.yaml").read_text("utf-8"), "utf-8")
    return config.parse(text, base=folder)


@pytest.fixture
def dev(tmp_path: Path) -> Configuration:
    return unpack("0.2.0.dev", tmp_path)


def test_the_state_of_each_release_is_here():
    released = re.findall(
        r"^## (\d+\.\d+\.\d+) - ", (STORED.parents[1] / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert released
    assert set(released) <= set(RELEASES)


@requirement("operations/state")
@pytest.mark.parametrize("release", RELEASES)
async def test_the_state_of_an_earlier_build_goes_on_whole(tmp_path: Path, release: str):
    before = unpack(release, tmp_path)
    assert {each.state for each in await check_state(before)} == {"ok"}
    assert await find_keys(before)
    written = list(reader.entries(before.journal.path))
    killed = datetime.fromisoformat(str(written[-1]["time"])).timestamp()
    leases = {str(entry["id"]) for entry in written if entry["kind"] == "lease"}
    (question,) = (entry["id"] for entry in written if entry["kind"] == "approval")
    (task,) = (entry["task"] for entry in written if entry["kind"] == "task")
    assert len(leases) == 3

    async with app.open_gateway(before, clock=lambda: killed + 10) as gateway:
        assert gateway.people is not None
        (stop,) = await perform(gateway.control, "stops/list")
        assert (stop["name"], stop["reason"]) == ("triage", "it mails strangers")
        assert [one.id for one in gateway.people.desk.list_open()] == [question]
        assert task in {kept.task.id for kept in gateway.history.tasks.all()}

    written = list(reader.entries(before.journal.path))
    assert leases <= {str(entry["id"]) for entry in written if entry["kind"] == "lease" and entry["event"] in ENDED}


@requirement("operations/state")
async def test_its_records_are_sealed_anew_and_need_the_journals_key_no_longer(dev: Configuration):
    chain = (dev.state / keys.FILES["chain"]).read_bytes()
    async with app.open_gateway(dev, clock=lambda: KILLED + 10):
        pass
    assert (dev.state / "sealing-key.1").read_bytes() == chain
    assert {each.used for each in await find_keys(dev) if each.key == "sealing" and not each.is_newest} == {"nothing"}
    (dev.state / "sealing-key.1").unlink()

    async with app.open_gateway(dev, clock=lambda: KILLED + 10) as gateway:
        assert len(await perform(gateway.control, "stops/list")) == 1
    assert {each.state for each in await check_state(dev)} == {"ok"}


@pytest.mark.parametrize("lost", ["journal-key", "fingerprints-key"])
async def test_without_a_key_it_is_refused_by_name(dev: Configuration, lost: str):
    (dev.state / lost).unlink()
    with pytest.raises(Exception, match=lost):
        async with app.open_gateway(dev, clock=lambda: KILLED + 10):
            pytest.fail("it started")


async def test_keys_of_a_journal_that_another_gateway_writes_are_not_called_lost(dev: Configuration, tmp_path: Path):
    here = config.parse(
        f"{{identity: [{{kind: development}}], state: {tmp_path / 'mine'}, journal: {{path: {dev.journal.path}}}}}",
        base=tmp_path,
    )
    with pytest.raises(GatewayError, match="journal-key"):
        read_present_keys(here)
    held = storage.lock(dev.journal.path)
    try:
        with pytest.raises(storage.InUse, match=f"another gateway writes to the journal .*process {os.getpid()} "):
            read_present_keys(here)
        (found,) = await check_state(here)
        assert (found.state, "another gateway writes" in found.problem) == ("fail", True)
    finally:
        os.close(held)


@requirement("operations/state")
@pytest.mark.parametrize("path", EARLIER)
async def test_state_of_a_build_before_the_store_is_refused_with_what_is_in_it(dev: Configuration, path: str):
    file = dev.state / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(Random(1).randbytes(100))

    with pytest.raises(StoreError, match=r"of a release before 0\.2\.0.* open leases, stops, ended logins") as caught:
        async with app.open_gateway(dev, clock=lambda: KILLED + 10):
            pytest.fail("it started")
    assert "start and stop that release once" in caught.value.remedy
    assert [each.state for each in await check_state(dev)] == ["fail"]
    assert file.exists()
