"""`opagate approvals verify` over the journals of several gateways, in the process of the test."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals import state
from gateway.authority.approvals.model import ApproverRule, Vote
from gateway.authority.approvals.passkey import Passkey
from gateway.authority.approvals.passkeys import Passkeys
from gateway.base.control.operations import OperatorName
from gateway.config import JournalSettings
from gateway.record.journal.writer import Journal
from tests.authenticator import Authenticator
from tests.unit.authority.approvals.making import BOB, Recorder, question, yes
from tests.unit.base.store.keeping import sealed_store
from tests.unit.clock import Clock
from tests.unit.surfaces.cli.conftest import Status

ORIGIN = "https://gateway.example"
ASKED = question(rule=ApproverRule(seconds=900.0, assurance="passkey"))


async def sign(folder: Path) -> tuple[dict[str, Any], Vote]:
    """Return the entry of a registered passkey, and a vote that it signed."""
    recorder, clock, authenticator = Recorder(), Clock(900.0), Authenticator(ORIGIN)
    passkeys = Passkeys(sealed_store(folder, clock=clock), ORIGIN, append=recorder.append, now=clock)
    code, _ = await passkeys.invite(BOB.id, BOB.issuer, OperatorName("olga"))
    options = await passkeys.begin_registration(BOB, code)
    assert isinstance(options, dict)
    assert isinstance(await passkeys.register(BOB, code, "laptop", authenticator.make(options)), Passkey)
    request = await passkeys.begin_vote(ASKED, yes())
    assert isinstance(request, dict)
    signed = await passkeys.sign(ASKED, yes(), authenticator.sign(request))
    assert isinstance(signed, Vote)
    return recorder.entries[-1], signed


@pytest.fixture
def opagate(status: Status, tmp_path: Path) -> Status:
    """Runs the command in a folder with three journals: the key, the question and the vote are in one each."""
    (tmp_path / "gateway.yaml").write_text("journal: {path: journal}\n", "utf-8")

    async def write() -> None:
        registered, signed = await sign(tmp_path)
        granted = state.changed_entry(state.ask(ASKED), 1_001.0, vote=signed)
        entries = (
            registered,
            {"kind": state.KIND, **state.asked_entry(state.ask(ASKED))},
            {"kind": state.KIND, **granted},
        )
        for number, entry in enumerate(entries):
            settings = JournalSettings.model_validate({"path": tmp_path / "journal" / f"worker-{3 - number}"})
            journal = Journal.open(settings, key=b"k" * 32, fingerprints=b"f" * 32, clock=Clock(1_000.0 + number))
            await journal.append(str(entry["kind"]), {name: value for name, value in entry.items() if name != "kind"})
            await journal.close()

    asyncio.run(write())
    return lambda *words: status("approvals", "verify", "--config", "gateway.yaml", *words)


def test_the_journals_of_workers_are_read_together(opagate: Status, capsys: pytest.CaptureFixture[str]):
    assert opagate("--json") == 0
    assert json.loads(capsys.readouterr().out) == {"verified": 1, "problems": []}


def test_journals_of_other_gateways_are_named(opagate: Status, capsys: pytest.CaptureFixture[str]):
    all_three = [word for number in (1, 2, 3) for word in ("--journal", f"journal/worker-{number}")]

    assert opagate(*all_three) == 0
    assert "1 signed vote verified, 0 problems" in capsys.readouterr().err
    assert opagate(*all_three[:4]) == 1
    assert "no such passkey" in capsys.readouterr().out


def test_a_folder_without_a_journal_verifies_nothing(opagate: Status, capsys: pytest.CaptureFixture[str]):
    assert opagate("--journal", "journal") != 0
    assert "there is no journal in journal" in capsys.readouterr().err
