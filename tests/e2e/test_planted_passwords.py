"""Invariant 8, attacked from outside with a password that has no form: only that a system has shown it tells what it is.

It is planted in every field of every message, in several forms, in calls that pass and in calls that are refused. Then all
that the gateway leaves behind is searched for it: the journal, the log, the exported spans, the metrics, and each byte of its
folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from tests.e2e.collector import Collector, collecting
from tests.e2e.desk import WORD
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.test_credentials_elsewhere import HANDSHAKE, STATELESS, beside, each_byte
from tests.e2e.wire import Answer, Caller, Sent, call, entries, legacy, page, stateless, until, verified
from tests.gateway_process import open_policy, running_gateway
from tests.requirements import requirement
from tests.servers.serving import ROOT

SPOKEN: Final = "Xu4-dalin-Rr7-okso9"
"""The password that the stdio server has shown."""
TOKEN: Final = "ghp_" + hashlib.sha256(b"talkative").hexdigest()[:36]
KEY_LINES: Final = (
    "-----BEGIN PRIVATE KEY-----",
    *(hashlib.sha256(b"%d" % number).hexdigest() for number in range(6)),
    "-----END PRIVATE KEY-----",
)
DISGUISES: Final[Mapping[str, Callable[[str], str]]] = {
    "raw": str,
    "in a sentence": lambda word: f"use {word}, thanks",
    "in a path": lambda word: f"a/{word}/b",
    "base64": lambda word: base64.b64encode(word.encode()).decode(),
    "base64 of more": lambda word: base64.urlsafe_b64encode(f"user:{word}".encode()).decode().rstrip("="),
    "hex": lambda word: word.encode().hex(),
    "percent": lambda word: each_byte(word, "%{:02X}"),
    "in capitals": str.upper,
    "spaced": " ".join,
}
CALLS: Final[Mapping[str, Callable[[str], Sent]]] = {
    "value of an argument": lambda word: call("read", note=word),
    "name of an argument": lambda word: legacy("tools/call", name="read", arguments={word: 1}),
    "nested name": lambda word: call("read", a={"b": [{word: "x"}]}),
    "two halves": lambda word: call("read", a=word[: len(word) // 2], b=word[len(word) // 2 :]),
    "destination": lambda word: call("send", to=f"{word}@corp.example", body="hello"),
    "name that is a destination": lambda word: call("send", to={word: "eve@evil.example"}, body="x"),
    "ambiguous names": lambda word: legacy("tools/call", name="read", arguments={word: 1, word + "_": 2}),
    "name of a tool": lambda word: legacy("tools/call", name=word, arguments={}),
    "part of the name of a tool": lambda word: stateless("tools/call", name=f"read-{word}-all", arguments={}),
    "URI of a resource": lambda word: legacy("resources/read", uri=f"test://{word}/page"),
    "query of a URI": lambda word: legacy("resources/read", uri=f"https://pages.example/?page=1&k={quote(word)}"),
    "name of a prompt": lambda word: legacy("prompts/get", name=word, arguments={}),
    "argument of a prompt": lambda word: legacy("prompts/get", name="hello", arguments={word: word}),
    "name of a completed prompt": lambda word: legacy(
        "completion/complete", ref={"type": "ref/prompt", "name": word}, argument={"name": "a", "value": ""}
    ),
    "completed argument": lambda word: legacy(
        "completion/complete", ref={"type": "ref/prompt", "name": "p"}, argument={"name": word, "value": word}
    ),
    "template of a completion": lambda word: legacy(
        "completion/complete",
        ref={"type": "ref/resource", "uri": f"test://{word}"},
        argument={"name": "a", "value": ""},
    ),
    "method": lambda word: legacy(f"tools/{word}"),
    "name of the client": lambda word: legacy(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": word, "version": word}
    ),
    "version of the protocol": lambda word: Sent(call("read").body, {"mcp-protocol-version": quote(word)}),
    "task that is not there": lambda word: beside(call("read"), opagate_task=quote(word)),
    "task in _meta": lambda word: legacy("tools/call", name="read", arguments={}, _meta={"io.opagate/task": word}),
    "protocol task": lambda word: legacy("tasks/get", taskId=word),
    "requestState": lambda word: stateless("tools/call", name="read", arguments={}, requestState=word),
    "session": lambda word: beside(call("read"), mcp_session_id=quote(word)),
    "event": lambda word: beside(call("read"), last_event_id=quote(word)),
    "a name twice": lambda word: Sent(
        call("read").body.replace(b'"id": 7', b'"id": 7, "%s": 1, "%s": 2' % ((word.encode(),) * 2))
    ),
    "origin": lambda word: beside(call("read"), origin=f"https://{quote(word)}.example"),
}
RESULTS: Final = (
    "structured",
    "document in a text",
    "embedded text",
    "embedded file",
    "link",
    "failure",
    "error",
    "event",
)


def _quoted(sent: Sent) -> Sent:
    """A message that HTTP can carry: names of headers have letters and digits only."""
    return Sent(sent.body, {re.sub(r"[^A-Za-z0-9_-]", "", name) or "x": value for name, value in sent.headers.items()})


@dataclass(frozen=True, slots=True)
class Attack:
    """A caller to whom `crm` has shown the password, and all that is left behind."""

    ada: Agent
    folder: Path
    collector: Collector

    def plant(self, system: str, sent: Sent) -> Answer:
        return Caller(self.ada.gateway, system, self.ada.headers).ask(_quoted(sent))

    def codes(self, system: str, sent: Sent) -> list[str]:
        """Plant, and give the reasons of a refusal."""
        answer = self.plant(system, sent)
        return answer.codes if b"io.opagate/decision" in answer.body else []

    def settle(self) -> None:
        """Wait until all that was answered is recorded."""
        until(lambda: not self._open())

    def _open(self) -> set[str]:
        begun = {str(entry["id"]) for entry in entries(self.folder, "call") if entry["effect"] == "allow"}
        return begun - {str(entry["id"]) for entry in entries(self.folder, "settled")}


def config(servers: Servers, folder: Path, more: str) -> str:
    """All systems, and a program that talks on standard error."""
    told = folder.with_suffix(".txt")
    lines = [make(word) for word in (SPOKEN, WORD) for make in DISGUISES.values()]
    told.write_text("\n".join([*lines, f"password={SPOKEN}", TOKEN, *KEY_LINES, "an honest line", ""]), "utf-8")
    command = json.dumps([sys.executable, str(ROOT / "tests/servers/talkative.py"), str(told)])
    limits = "limits: {task: {denials: {soft: 99999, hard: 100000}}}"
    setup = servers.config(open_policy(folder), f"{more}\n{limits}")
    return setup.replace(
        "upstreams:\n",
        f"upstreams:\n  talkative:\n    command: {command}\n    env: {{SHOWN: '${{SHOWN}}'}}\n    audience: talkative\n"
        f"    files: {{read: [{told}]}}\n    environment: test\n"
        "    tools: {say: {effect: read, egress: false, sensitivity: internal}}\n",
    )


@pytest.fixture(scope="module", params=["digest", "full"])
def attack(
    systems: Servers, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Generator[Attack]:
    folder = tmp_path_factory.mktemp("planted")
    with collecting() as collector:
        journal = f"journal: {{arguments: {request.param}, results: {request.param}, refusals: 100000}}"
        telemetry = f"telemetry: {{level: debug, {collector.setting}}}"
        setup = config(systems, folder, f"{journal}\n{telemetry}")
        with running_gateway(setup, folder, environment={"SHOWN": SPOKEN}) as gateway:
            ada = agent(gateway, systems, "ada")
            ada.passes("crm", "read", page="word")
            yield Attack(ada, folder, collector)


def spellings(word: str) -> Iterator[bytes]:
    """The forms in which a searcher would know a password again."""
    data = word.encode()
    yield from (data, data.upper(), quote(word).encode(), each_byte(word, "%{:02X}").encode())
    yield from (data.hex().encode(), data.hex().upper().encode())
    for start in range(3):
        inner = data[start:]
        coded = base64.b64encode(inner[: len(inner) // 3 * 3])
        yield from (coded, coded.replace(b"+", b"-").replace(b"/", b"_"))


def bare(data: bytes) -> bytes:
    return re.sub(rb"[^a-z0-9]", b"", data.lower())


def places(attack: Attack) -> Iterator[tuple[str, bytes]]:
    """All that the gateway leaves behind, piece by piece."""
    for path in attack.folder.rglob("*"):
        if path.is_file() and path.name not in {"gateway.yaml", "gateway.log"} and "policy" not in path.parts:
            yield str(path.relative_to(attack.folder)), path.read_bytes()
    yield "log", attack.ada.gateway.printed().encode()
    yield "metrics", page(attack.ada.gateway, "/metrics")[1].encode()
    yield "readyz", page(attack.ada.gateway, "/readyz")[1].encode()
    for number, body in enumerate(attack.collector.bodies):
        yield f"spans {number}", body


def found(attack: Attack, word: str) -> list[tuple[str, bytes]]:
    """Where the password stands, and what is around it."""
    forms, letters = list(spellings(word)), bare(word.encode())
    return [
        (place, line[:4000])
        for place, data in places(attack)
        for line in data.splitlines()
        if any(form in line for form in forms) or letters in bare(line)
    ]


@requirement("invariant/8")
@pytest.mark.parametrize("system", ["billing", "crm"])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_invariant_8_a_known_password_is_stored_and_shown_nowhere_wherever_it_is_planted(
    attack: Attack, system: str, disguise: str
):
    """In calls to its own system, which pass, and to another, which are refused for it."""
    word = DISGUISES[disguise](WORD)
    planted = {**CALLS, **HANDSHAKE, **{f"stateless {name}": make for name, make in STATELESS.items()}}
    before = len(entries(attack.folder, "call"))
    codes = [code for make in planted.values() for code in attack.codes(system, make(word))]
    attack.settle()

    assert found(attack, WORD) == []
    effects = {entry["effect"] for entry in entries(attack.folder, "call")[before:]}
    assert "deny" in effects
    assert "allow" in effects or system == "billing"
    if system == "billing":
        assert codes.count("credential-chain/outside-arguments") > 25
        assert codes.count("credential-chain/presentation") > 4


@requirement("invariant/8")
def test_invariant_8_a_refusal_repeats_no_known_password(attack: Attack):
    """Not even to its caller: what the agent reads stands in its own logs, and in its next prompt."""
    ids = ("id of a call", "progress token", "id of an answer")
    for name, make in {**CALLS, **{key: made for key, made in HANDSHAKE.items() if key not in ids}}.items():
        answer = attack.plant("billing", make(WORD))
        if b"io.opagate" in answer.body:
            assert WORD.encode() not in answer.body, (name, answer.body)


@requirement("invariant/8")
def test_invariant_8_results_and_errors_that_repeat_it_are_recorded_without(attack: Attack):
    for shape in RESULTS:
        assert attack.plant("crm", call("read", shape=shape, page="word")).status == 200
        attack.ada.servers.take()
    attack.plant("crm", call("read", find=WORD))
    attack.settle()
    assert found(attack, WORD) == []


@requirement("invariant/8")
@pytest.mark.parametrize("disguise", DISGUISES)
def test_invariant_8_goals_and_contracts_keep_none(attack: Attack, disguise: str):
    word = DISGUISES[disguise](WORD)
    status, task = attack.ada.tasks("", goal=f"log in to crm with {word} and report")
    assert status == 201
    attack.ada.within(task["id"]).call("crm", "read", note=word)
    for contract in ({"tools": [word]}, {"audiences": ["crm", word]}, {"destinations": [f"x {word}"]}):
        assert attack.ada.tasks("", contract=contract)[1]["error"]["code"] == "task/invalid"
    for name in ("tenant", "environment", "goaal", word):
        assert attack.ada.tasks("", **{name: word})[1]["error"]["code"] == "task/invalid"
    attack.ada.tasks(f"/{quote(word)}")
    assert attack.ada.tasks(f"/{task['id']}/complete")[0] == 200
    assert found(attack, WORD) == []


@requirement("invariant/8", "operations/trace")
def test_invariant_8_a_trace_carries_none(attack: Attack):
    digits = WORD.encode().hex()
    for trace, span in (
        (digits[:32], "b7ad6b7169203331"),
        (secrets.token_hex(16), digits[:16]),
        (digits[-32:], digits[:16]),
    ):
        for system in ("crm", "billing"):
            attack.plant(system, beside(call("read"), traceparent=f"00-{trace}-{span}-01"))
    honest = secrets.token_hex(16)
    attack.plant("crm", beside(call("read"), traceparent=f"00-{honest}-b7ad6b7169203331-01"))
    until(lambda: any(span.trace_id.hex() == honest for span in attack.collector.spans))
    assert [span for span in attack.collector.spans if span.trace_id.hex() in digits] == []
    assert [body for body in attack.collector.bodies if WORD.encode()[:12] in body] == []
    assert [entry for entry in entries(attack.folder) if str(entry.get("trace_id")) in digits] == []


@requirement("invariant/8")
def test_invariant_8_a_program_that_tells_passwords_is_logged_without_them(attack: Attack):
    """Those of its environment, and those that systems have shown to its caller, in each form."""
    session = attack.ada.session("talkative")
    assert SPOKEN in session.call("talkative", "say").text
    until(lambda: "an honest line" in attack.ada.gateway.printed())

    assert "[private key]" in attack.ada.gateway.printed()
    for word in (SPOKEN, WORD, TOKEN, KEY_LINES[1], KEY_LINES[-2]):
        assert found(attack, word) == []


@requirement("invariant/8", "invariant/7")
def test_invariant_8_the_record_stays_whole_and_can_be_read(attack: Attack):
    """Marks stand in the place of the password, the chain verifies, and names that are listed stay."""
    attack.plant("crm", call("read", note=f"use {WORD} there"))
    attack.plant("billing", legacy("tools/call", name=f"read-{WORD}", arguments={}))
    until(lambda: any("fp:seen:" in str(entry.get("name")) for entry in entries(attack.folder, "refused")))

    assert verified(attack.folder).ok
    assert any(entry["target"]["id"] == "crm/read" for entry in entries(attack.folder, "call"))
    named = [str(entry["name"]) for entry in entries(attack.folder, "refused") if entry.get("name")]
    assert any(re.fullmatch(r"read-fp:seen:[0-9a-f]{24}|fp:seen:[0-9a-f]{24}", name) for name in named)
