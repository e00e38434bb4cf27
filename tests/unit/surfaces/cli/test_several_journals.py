"""The journals of several gateways on the command line: merged by time, named, and each checked by its own chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import JournalSettings
from gateway.record.journal.storage import segments
from gateway.record.journal.writer import Journal
from gateway.surfaces.cli.journal_export import named_fields
from tests.unit.surfaces.cli.conftest import Status

BEGIN = 1_800_000_000.0
KEYS = {"own": b"1" * 32, "two": b"2" * 32}
CONFIG = """
state: own
keys: {chain: own.key}
journal: {path: own, peers: {two: {path: two, key: two.key}, three: {path: three}}}
"""


def write(folder: Path, name: str, seconds: list[int], key: bytes | None = None) -> None:
    """Write a journal with an entry at each time."""
    settings = JournalSettings.model_validate({"path": folder / name, "fsync": "never", "compress": False})
    times = iter(seconds)
    now = [BEGIN + seconds[0]]

    async def written() -> None:
        journal = Journal.open(settings, key=key or KEYS[name], fingerprints=b"f" * 32, clock=lambda: now[0])
        for at in times:
            now[0] = BEGIN + at
            await journal.append("policy", {"name": name, "revision": str(at)})
        await journal.close()

    asyncio.run(written())


@pytest.fixture
def opagate(status: Status, tmp_path: Path) -> Status:
    """Runs a command about the journals of three gateways, one of them without a key."""
    for name, key in KEYS.items():
        (tmp_path / f"{name}.key").write_bytes(key)
        (tmp_path / f"{name}.key").chmod(0o600)
    (tmp_path / "gateway.yaml").write_text(CONFIG, "utf-8")
    write(tmp_path, "own", [10, 40])
    write(tmp_path, "two", [20, 30])
    write(tmp_path, "three", [25], b"3" * 32)
    return lambda *words: status("journal", *words, "--config", "gateway.yaml")


def read_policies(text: str) -> list[tuple[str, str]]:
    """Return the gateway and the time of each `policy` entry."""
    found: list[dict[str, Any]] = [json.loads(row) for row in text.splitlines()]
    return [(entry["gateway"], entry["revision"]) for entry in found if entry["kind"] == "policy"]


@pytest.mark.parametrize("command", [("tail", "--no-follow", "--json", "--lines", "99"), ("export",)], ids=str)
def test_entries_come_by_time_with_their_gateway(
    opagate: Status, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    assert opagate(*command) == 0

    found = read_policies(capsys.readouterr().out)
    assert [at for _, at in found] == ["10", "20", "25", "30", "40"]
    assert [name for name, _ in found][1:4] == ["two", "three", "two"]


def test_a_folder_given_is_read_in_the_place_of_all(opagate: Status, capsys: pytest.CaptureFixture[str]):
    assert opagate("export", "--kind", "policy", "--journal", "two") == 0
    alone = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert opagate("tail", "--no-follow", "--journal", "own", "--journal", "two") == 0
    both = capsys.readouterr().out

    assert [("gateway" in entry, entry["revision"]) for entry in alone] == [(False, "20"), (False, "30")]
    assert "three" not in both
    assert both.index("own 2027-") < both.index("two 2027-")


@pytest.mark.parametrize("more", [("--after", "1"), ("--format", "otlp", "--to", "http://127.0.0.1:9")], ids=str)
def test_numbers_of_one_journal_are_not_taken_for_those_of_several(
    opagate: Status, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    assert opagate("export", *more) == 2
    assert "each journal has its own numbers" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("form", "mark"), [("ocsf", '"log_source":"two"'), ("otlp", '"service.instance.id"')])
def test_other_forms_name_the_gateway_too(opagate: Status, form: str, mark: str, capsys: pytest.CaptureFixture[str]):
    assert opagate("export", "--format", form) == 0
    assert mark in capsys.readouterr().out


def test_each_chain_is_verified_on_its_own(opagate: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert opagate("verify", "--journal", "own", "--journal", "two") == 0
    assert opagate("verify", "--json") == 1
    told = json.loads(capsys.readouterr().out.rpartition("\n{")[2].join(["{", ""]))

    assert [one["ok"] for one in told["journals"]] == [True, True, False]
    assert told["journals"][2]["problems"][0]["fault"] == "wrong-key"
    ((_, file),) = segments(tmp_path / "two")
    file.write_bytes(file.read_bytes().replace(b'"revision":"20"', b'"revision":"21"'))
    assert opagate("verify", "--journal", "own", "--journal", "two") == 1
    assert "edited" in capsys.readouterr().out


def test_no_field_of_an_entry_takes_the_place_of_its_gateway():
    assert named_fields("two", {"kind": "call", "gateway": "own"}) == {"gateway": "two", "kind": "call"}
