"""The policy input of a recorded decision, beside the one that policy was asked then."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import keys
from gateway.history.provenance import Provenance
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.errors import JournalError
from gateway.policy import contract
from gateway.record.journal import reader
from gateway.surfaces.replay.engine import inspector_of
from gateway.surfaces.replay.rebuilt import RebuiltInput, rebuild_input
from tests.unit.harness import Bench, bench, call, message, modern, result
from tests.unit.surfaces.replay.test_recorded import opened

LABELS = "{effect: read, egress: false, sensitivity: internal, roles: {/to: destination, /path: selector}}"
FULL = "journal: {arguments: full, results: full}\n"


def watched(there: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The policy inputs of the calls from now on."""
    asked: list[Any] = []
    decide = there.gateway.policy.decide

    async def decided(document: Any) -> Any:
        asked.append(plain(document))
        return await decide(document)

    monkeypatch.setattr(there.gateway.policy, "decide", decided)
    return asked


def rebuilt(there: Bench) -> list[RebuiltInput]:
    """The policy inputs of the recorded calls, built again."""
    key = keys.read_chain(there.configuration)
    found: list[RebuiltInput] = []
    for entry in there.entries("call"):
        provenance = Provenance(entry)
        for other in reader.tasks(there.folder / "state/journal", provenance.tasks, key=key):
            if not provenance.take(other):
                break
        inspector = inspector_of(there.configuration)
        found.append(rebuild_input(entry, provenance.explanation(), inspector))
    return found


def plain(document: Any) -> Any:
    """A policy input as JSON, its time in milliseconds: the record has no more."""
    found = msgspec.json.decode(msgspec.json.encode(document, enc_hook=dict))
    moment = datetime.fromisoformat(found["context"]["time"]).timestamp()
    found["context"]["time"] = round(moment, 3)
    return found


async def test_a_journal_that_keeps_arguments_gives_the_whole_input_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with bench(tmp_path, more=FULL, labels=LABELS) as there:
        asked = watched(there, monkeypatch)
        there.upstream.script = lambda request: result(request, {"content": [{"type": "text", "text": "quarterly"}]})
        await there.ask(call(path="a", to=["ana@corp.example", "https://docs.example/x"]))
        await there.ask(call("hidden", path="b"))
        await there.ask(call("ask_first"))
        await there.ask(message("resources/read", uri="file:///a"))
        await there.ask(message("prompts/get", name="hello", arguments={"x": "y"}))
        header = (b"opagate-task", await opened(there, "mend it", ["ana@corp.example"]))
        await there.ask(call(path="c", to="bob@corp.example"), header)
        body, *headers = modern("tools/call", name="read_more", arguments={"path": "é"})
        await there.ask(body, *headers)
        found = rebuilt(there)

    assert len(found) == 7
    for then, now in zip(asked, found, strict=True):
        then["resource"]["properties"]["annotations"] = {}
        assert plain(now.document) == then
        msgspec.convert(msgspec.json.decode(msgspec.json.encode(now.document, enc_hook=dict)), contract.Input)
        assert not any("left out" in remark for remark in now.missing)


async def test_what_the_journal_does_not_keep_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, labels=LABELS) as there:
        asked = watched(there, monkeypatch)
        await there.ask(call(path="a", to="ana@corp.example"))
        (found,) = rebuilt(there)

    (then,) = asked
    del then["arguments"], then["session"]["call_destinations"]
    assert plain(found.document) == then
    assert [remark.partition(" ")[0] for remark in found.missing] == [
        "arguments", "session.call_destinations", "resource.properties.annotations", "texts",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "principal",
    [
        Principal("agent", "https://idp.example", AuthMethod.JWT, frozenset({"a", "b"}), User("ana", ("x", "y")), bound=True),
        Principal("agent", "https://idp.example", AuthMethod.JWT),
        Principal("spiffe://corp/a", "spiffe://corp", AuthMethod.SPIFFE_X509, bound=True),
        Principal("spiffe://corp/a", "spiffe://corp", AuthMethod.SPIFFE_JWT),
        Principal(
            "a", "https://idp.example", AuthMethod.JWT, user=User("ana"), delegation=(Actor("a", None), Actor("b", "https://x.example"))
        ),
    ],
    ids=lambda principal: f"{principal.method}{' bound' * principal.bound}{len(principal.delegation) or ''}",
)  # fmt: skip
async def test_every_caller_comes_back_as_policy_saw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, principal: Principal
):
    async with bench(tmp_path, more=FULL) as there:
        asked = watched(there, monkeypatch)

        async def identified(*_: object) -> Principal:
            return principal

        monkeypatch.setattr("gateway.calls.pipeline.admit.Admission.identify", identified)
        await there.ask(call(path="a"))
        (found,) = rebuilt(there)

    assert plain(found.document)["subject"] == asked[0]["subject"]


async def test_an_entry_that_lacks_something_is_named(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call(path="a"))
        (entry,) = there.entries("call")
        explanation = Provenance(entry).explanation()
        inspector = inspector_of(there.configuration)

    for name in ("client", "trace_id"):
        with pytest.raises(JournalError, match=name):
            rebuild_input({key: value for key, value in entry.items() if key != name}, explanation, inspector)
