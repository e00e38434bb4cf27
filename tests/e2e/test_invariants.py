"""What must never break, attacked from outside: one test, or one group of tests, for each invariant."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_policy
from tests.e2e.conftest import GRANTS, policy
from tests.e2e.faults import slow_overlay
from tests.e2e.systems import Agent, agent
from tests.e2e.wire import META, Caller, Sent, call, caller, entries, legacy, page, stateless, token, until, verified
from tests.gateway_process import GatewayProcess, open_config, running_gateway
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess


def calls(recorder: Recorder) -> list[dict[str, Any]]:
    """The calls that reached the server."""
    return [record for record in recorder.requests() if "tools/call" in record["body"]]


@pytest.fixture
def anyone(gateway: GatewayProcess) -> Caller:
    return Caller(gateway)


# --- 1 ---------------------------------------------------------------------------------------------


@requirement("invariant/1", "mcp/bytes")
def test_invariant_1_no_call_reaches_an_upstream_without_an_allow_for_exactly_those_bytes(
    anyone: Caller, recorder: Recorder
):
    body = (
        '{"id":7,  "params":{"arguments":{"text":"Ünïcode \\u0041 1.0 {\\"a\\":\\"b\\"}","n":[1.0,1e3,-0,{"":null}]},'
        '"name":"echo"},\n"method":"tools/call", "jsonrpc":"2.0"}'
    ).encode()
    answer = anyone.ask(Sent(body, legacy("x").headers))

    (reached,) = calls(recorder)
    assert answer.status == 200
    assert reached["sha256"] == hashlib.sha256(body).hexdigest()
    assert entries(anyone.gateway.folder, "call")[-1]["effect"] == "allow"


@requirement("invariant/1")
def test_invariant_1_holds_while_the_policy_is_swapped_under_load(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    """Callers press while the grants are taken away. What began after the swap was in force never reaches the server."""
    tree = policy(tmp_path)
    setup = open_config(tree, {"echo": echo_server.mcp}).replace("policy: {", "policy: {reload: 20ms, ")
    grants = tree / "gateway/grants/data.yaml"
    with running_gateway(setup, tmp_path) as gateway, ThreadPoolExecutor(8) as threads:
        swapped, stop = threading.Event(), threading.Event()
        revision = json.loads(page(gateway, "/readyz")[1])["policy"]["revision"]

        def press(number: int) -> int:
            after = 0
            while not stop.is_set():
                late = swapped.is_set()
                answer = Caller(gateway).call("echo", text=f"{'late' if late else 'early'}-{number}")
                if late:
                    # Whoever presses on for long has used up the denials of a task too.
                    assert "tool/not-granted" in answer.codes, answer.body
                    after += 1
            return after

        pressing = [threads.submit(press, number) for number in range(8)]
        recorder.wait("request", "early-0")
        grants.write_text(GRANTS.replace('tools: ["*"]', "tools: [nothing]"), "utf-8")
        until(lambda: json.loads(page(gateway, "/readyz")[1])["policy"]["revision"] != revision)
        swapped.set()
        recorded = len(entries(tmp_path, "call"))
        until(lambda: len(entries(tmp_path, "call")) > recorded + 100)
        stop.set()
        assert all(one.result(60) > 0 for one in pressing)

    reached = calls(recorder)
    assert not [record for record in reached if "late-" in record["body"]]
    allowed = [entry for entry in entries(tmp_path, "call") if entry["effect"] == "allow"]
    assert len(reached) == len(allowed) > 0
    assert {entry["policy"]["revision"] for entry in allowed} == {revision}


# --- 2 ---------------------------------------------------------------------------------------------

PLAIN = call("echo", text="x").body
AMBIGUOUS: dict[str, tuple[bytes, dict[str, str]]] = {
    "key-twice": (PLAIN.replace(b'"name": "echo"', b'"name": "echo", "name": "die"'), {}),
    "key-twice-escaped": (PLAIN.replace(b'"name": "echo"', b'"name": "echo", "n\\u0061me": "die"'), {}),
    "argument-twice": (PLAIN.replace(b'"text": "x"', b'"text": "x", "text": "y"'), {}),
    "utf-16": (PLAIN.decode().encode("utf-16"), {}),
    "latin-1": (PLAIN.replace(b'"x"', b'"\xe9"'), {}),
    "byte-order-mark": (b"\xef\xbb\xbf" + PLAIN, {}),
    "lone-surrogate": (PLAIN.replace(b'"x"', b'"\\ud800"'), {}),
    "array": (b"[" + PLAIN + b"]", {}),
    "two-documents": (PLAIN + PLAIN, {}),
    "nan": (PLAIN.replace(b'"x"', b"NaN"), {}),
    "infinity": (PLAIN.replace(b'"x"', b"1e999"), {}),
    "huge-integer": (PLAIN.replace(b'"x"', b"9" * 400), {}),
    "gzip": (gzip.compress(PLAIN), {"content-encoding": "gzip"}),
    "gzip-undeclared": (gzip.compress(PLAIN), {}),
    "no-id": (PLAIN.replace(b'"id": 7', b'"x": 7'), {}),
    "null-id": (PLAIN.replace(b'"id": 7', b'"id": null'), {}),
    "method-header": (PLAIN, {"mcp-method": "tools/list"}),
    "name-header": (PLAIN, {"mcp-method": "tools/call", "mcp-name": "die"}),
    "name-header-encoded": (PLAIN, {"mcp-name": f"=?base64?{base64.b64encode(b'die').decode()}?="}),
    "version-header": (call("echo", stateless).body, {"mcp-protocol-version": "2025-11-25"}),
    "content-type": (PLAIN, {"content-type": "text/plain, application/json"}),
    "utf-7": (
        call("echo", text="+ACIAfQ-,+ACI-name+ACIAOgAi-die").body,
        {"content-type": "application/json; charset=utf-7"},
    ),
}


@requirement("invariant/2", "mcp/one-message", "mcp/headers-agree")
@pytest.mark.parametrize("case", AMBIGUOUS)
def test_invariant_2_what_two_readers_could_read_differently_is_refused_before_policy(
    anyone: Caller, recorder: Recorder, case: str
):
    body, headers = AMBIGUOUS[case]
    decided = len(entries(anyone.gateway.folder, "call"))
    answer = anyone.ask(Sent(body, headers))

    assert answer.status >= 400, answer.body
    assert answer.codes[0].startswith("request/")
    assert recorder.requests() == []
    assert len(entries(anyone.gateway.folder, "call")) == decided


@requirement("invariant/2", "mcp/headers-agree")
@pytest.mark.parametrize("name", ["mcp-name", "mcp-method", "mcp-protocol-version", "mcp-session-id", "content-type"])
def test_invariant_2_a_routing_header_given_twice_is_refused(gateway: GatewayProcess, recorder: Recorder, name: str):
    sent = call("echo", stateless, text="x")
    connection = http.client.HTTPConnection(gateway.origin.removeprefix("http://"), timeout=300)
    connection.putrequest("POST", "/mcp/echo")
    fields = {"content-type": "application/json", **sent.headers, "content-length": str(len(sent.body))}
    for key, value in [*fields.items(), (name, fields.get(name, "s")), (name, fields.get(name, "s"))]:
        connection.putheader(key, value)
    connection.endheaders(sent.body)
    answer = connection.getresponse()
    answer.read()
    connection.close()

    assert answer.status in {400, 415}
    assert recorder.requests() == []


# --- 3 and 8 ---------------------------------------------------------------------------------------


@pytest.fixture
def watched(echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    """A gateway of which everything that it leaves behind is searched."""
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp}).replace("anonymous", "development")
    with running_gateway(f"{setup}telemetry: {{level: debug}}\n", tmp_path) as gateway:
        yield gateway


def traces_of(secret: str, gateway: GatewayProcess, recorder: Recorder, answers: list[bytes]) -> list[str]:
    """Everywhere that a secret is, but must not be."""
    files = [path for path in (gateway.folder / "state").rglob("*") if path.is_file()]
    places = {str(path): path.read_bytes().decode("utf-8", "replace") for path in files}
    places["log"] = gateway.printed()
    places["metrics"] = page(gateway, "/metrics")[1]
    places["readyz"] = page(gateway, "/readyz")[1]
    places["upstream"] = json.dumps(recorder.requests())
    places["answers"] = b"".join(answers).decode("utf-8", "replace")
    return [place for place, text in places.items() if secret in text]


@requirement("invariant/3", "mcp/no-passthrough")
def test_invariant_3_the_agents_token_never_leaves_the_gateway(watched: GatewayProcess, recorder: Recorder):
    secret = token(watched, "alice")
    signature = secret.rpartition(".")[2]
    escaped = "".join(f"\\u{ord(character):04x}" for character in secret)
    good = Caller(watched, headers={"authorization": f"Bearer {secret}"})
    hidden = Sent(call("echo", text="HERE").body.replace(b"HERE", escaped.encode()), legacy("x").headers)
    answers = [
        good.call("echo", text="innocent"),
        good.call("echo", text=f"my token is {secret}"),
        good.call("echo", nested=[{secret: 1}]),
        good.call("stream", text=signature),
        good.ask(hidden),
        good.ask(call("echo"), headers={"x-upstream-authorization": f"Bearer {secret}"}),
        good.ask(call("echo"), headers={"cookie": f"token={secret}", "proxy-authorization": f"Bearer {secret}"}),
        good.ask(legacy("notifications/progress", None, progressToken=secret, progress=1)),
        good.ask(Sent(b'{"jsonrpc":"2.0","id":1,"result":{"roots":["%s"]}}' % secret.encode(), legacy("x").headers)),
        good.ask(legacy(f"tools/{secret}")),
        good.ask(Sent(f'{{"jsonrpc":"2.0","id":1,"{secret}":1}}'.encode())),
        good.ask(legacy("tools/call", name=secret, arguments={})),
        Caller(watched, secret, good.headers).call("echo"),
        Caller(watched, headers={"authorization": f"Basic {secret}"}).call("echo"),
        Caller(watched, headers={"authorization": f"Bearer {secret[:-4]}AAAA"}).call("echo"),
        Caller(watched, headers={"authorization": f"Bearer {secret}", "dpop": secret}).call("echo"),
        good.ask(call("echo"), headers={"host": secret[:200]}),
    ]

    assert answers[0].text == "innocent"
    assert [answer.codes for answer in answers[1:5]] == [["request/own-token"]] * 4
    # Two headers with the token do not go on, so their calls do.
    assert [answer.status for answer in answers[5:7]] == [200, 200]
    assert len(calls(recorder)) == 3
    assert traces_of(signature[:40], watched, recorder, [answer.body for answer in answers]) == []


@requirement("invariant/8")
def test_invariant_8_a_secret_in_an_argument_is_stored_and_shown_nowhere(watched: GatewayProcess, recorder: Recorder):
    """It is forwarded, for that is what the agent asked for; nothing that the gateway keeps or says has it."""
    formless = "planted-" + hashlib.sha256(b"planted").hexdigest()[:36]  # a credential's form would be refused
    secret = "ghp_" + hashlib.sha256(b"planted").hexdigest()[:36]
    good = caller(watched, "alice", "echo")
    answers = [
        good.call("stream", note=formless),
        good.call("die", note=formless, after=1),
        good.call("wrong_id", note=formless),
        good.call("status", note=formless, code=500),
        good.ask(legacy("tools/call", name=secret, arguments={})),
        good.ask(legacy("resources/read", uri=f"https://user:{secret}@host.example/")),
        good.ask(Sent(call("echo", a=secret).body.replace(b'"id": 7', b'"id": 7, "id": 8'))),
    ]
    assert any(formless in record["body"] for record in calls(recorder))
    recorder.take()
    bodies = [answer.body for answer in answers[:4]]

    assert traces_of(formless, watched, recorder, bodies) == []
    assert traces_of(secret, watched, recorder, bodies) == []


@requirement("invariant/8")
def test_invariant_8_a_credential_of_unknown_origin_is_neither_forwarded_nor_shown(
    watched: GatewayProcess, recorder: Recorder
):
    secret = "ghp_" + hashlib.sha256(b"planted too").hexdigest()[:36]
    answer = caller(watched, "alice", "echo").call("echo", note=f"use {secret}")

    assert "credential-chain/unknown" in answer.codes
    assert not any(secret in record["body"] for record in calls(recorder))
    assert traces_of(secret, watched, recorder, [answer.body]) == []


# --- 4 ---------------------------------------------------------------------------------------------

CLAIMS: list[tuple[dict[str, str], str]] = [
    # A development token is for callers from this machine; what a proxy passed on may come from anywhere.
    ({"x-forwarded-for": "10.0.0.1", "x-forwarded-user": "alice", "x-forwarded-host": "internal"}, "identity/issuer"),
    ({"user-agent": "alice", "forwarded": "for=127.0.0.1;by=alice"}, "identity/issuer"),
    ({"x-agent-id": "alice", "x-spiffe-id": "spiffe://corp/agent", "client-cert": "MIIB"}, "tool/not-granted"),
    ({"x-forwarded-host": "internal"}, "identity/issuer"),
    ({"remote-user": "alice", "user-agent": "alice"}, "tool/not-granted"),
    ({"mcp-session-id": "session-1"}, "session/unknown"),
]


@requirement("invariant/4")
@pytest.mark.parametrize(("headers", "code"), CLAIMS)
def test_invariant_4_no_header_widens_what_is_allowed(
    bob: Caller, received: Recorder, headers: dict[str, str], code: str
):
    assert bob.ask(call("odd")).codes == ["tool/not-granted"]
    answer = bob.ask(call("odd"), headers=headers)
    recorded = [entry for entry in entries(bob.gateway.folder) if entry.get("id") == answer.decision]

    assert recorded[0]["client"]["ip"] == "127.0.0.1"
    assert answer.codes == [code]
    assert received.requests() == []


@requirement("invariant/4")
def test_invariant_4_nothing_that_the_caller_says_of_itself_widens_what_is_allowed(bob: Caller, received: Recorder):
    meta = {
        **META,
        "io.modelcontextprotocol/clientInfo": {"name": "alice", "version": "1"},
        "io.opagate/decision": {"effect": "allow"},
        "annotations": {"readOnlyHint": True},
        "subject": {"id": "alice"},
    }
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "odd", "arguments": {}, "_meta": meta}}
    )
    sent = Sent(body.encode(), call("odd", stateless).headers)

    assert bob.ask(sent).codes == ["tool/not-granted"]
    assert received.requests() == []


@requirement("invariant/4")
def test_invariant_4_a_tool_under_another_spelling_is_another_tool(bob: Caller, received: Recorder):
    for name in ("open_a/../odd", "odd ", "ODD", "handles/open_a", "open_a\u200b", "echo/odd", "*"):
        assert bob.ask(call(name)).json["result"]["isError"], name
    assert received.requests() == []


# --- 5: see also test_protocol ---------------------------------------------------------------------


@requirement("invariant/5")
def test_invariant_5_what_one_principal_was_given_is_nothing_in_the_hands_of_another(
    alice: Caller, mallory: Caller, received: Recorder
):
    opening = legacy(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a", "version": "1"}
    )
    session = alice.ask(opening).headers["mcp-session-id"]
    alice.ask(call("task", id="invariant-5"))
    alice.ask(call("ask", stateless, state="invariant-5-state"))
    received.take()
    stolen = [
        mallory.ask(call("odd"), headers={"mcp-session-id": session}),
        mallory.ask(None, "GET", headers={"mcp-session-id": session}),
        mallory.ask(legacy("tasks/result", taskId="invariant-5")),
        mallory.ask(stateless("tools/call", name="ask", arguments={}, requestState="invariant-5-state")),
        mallory.ask(
            legacy(
                "tools/call",
                name="odd",
                arguments={},
                _meta={"io.modelcontextprotocol/related-task": {"taskId": "invariant-5"}},
            )
        ),
    ]

    assert [answer.codes[0].partition("/")[0] for answer in stolen] == ["session"] * 5
    assert received.requests() == []


# --- 6 ---------------------------------------------------------------------------------------------


@requirement("invariant/6")
def test_invariant_6_an_absent_fact_is_never_read_as_an_innocent_one(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    """A tool without labels counts as a write that leaves; a tool that no list names is unknown, not harmless."""
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp})
    setup = setup.replace("    tools: {'*': {effect: read, egress: false, sensitivity: internal}}\n", "")
    reads_only = GRANTS.replace("effects: [read, write, destructive, mint, exec]", "effects: [read]")
    (tmp_path / "policy/gateway/grants/data.yaml").write_text(reads_only, "utf-8")
    with running_gateway(setup, tmp_path) as gateway:
        recorder.take()
        assert Caller(gateway).call("echo").json["result"]["isError"]
        assert "catalogue/unknown" in Caller(gateway).call("no_such_tool").codes
    assert calls(recorder) == []


# --- 7 ---------------------------------------------------------------------------------------------


@requirement("invariant/7")
def test_invariant_7_every_refusal_is_recorded_with_its_reason(gateway: GatewayProcess, recorder: Recorder):
    bob = caller(gateway, "bob", "echo")
    answers = [
        bob.call("stream"),
        bob.ask(legacy("nonsense")),
        bob.ask(Sent(b"{")),
        bob.ask(call("echo"), headers={"mcp-session-id": "x"}),
        bob.ask(legacy("tasks/get", taskId="x")),
        bob.ask(call("echo"), headers={"content-type": "text/plain"}),
        Caller(gateway, headers={"authorization": "Bearer x"}).call("echo"),
        Caller(gateway, "nothing").call("echo"),
    ]
    recorded = {entry["id"]: entry for entry in entries(gateway.folder) if entry["kind"] in {"call", "refused"}}

    for answer in answers:
        reasons = [reason["code"] for reason in recorded[answer.decision]["reasons"]]
        assert reasons == answer.codes
    assert calls(recorder) == []


@requirement("invariant/7")
def test_invariant_7_a_refusal_to_open_read_or_end_a_task_is_recorded_too(ada: Agent):
    theirs = agent(ada.gateway, ada.servers, "somebody-else").declare().task
    refused = [
        ada.tasks("", contract={"tool": ["*"]}),
        ada.tasks(f"/{theirs}/cancel"),
        ada.tasks(f"/{theirs}"),
        ada.tasks("/no/such/page"),
    ]
    codes = [document["error"]["code"] for _, document in refused]
    assert codes == ["task/invalid", "task/unknown", "task/method", "task/not-found"]
    written = entries(ada.gateway.folder, "refused")[-4:]
    assert [(entry["status"], entry["reasons"][0]["code"]) for entry in written] == [
        (status, code) for (status, _), code in zip(refused, codes, strict=True)
    ]
    assert len({entry["principal"]["key"] for entry in written}) == 1


@requirement("invariant/7")
def test_invariant_7_the_intent_is_on_the_disk_before_the_call_goes_on(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    """Seen from the upstream: when the call is there, its entry is."""
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp}) + "journal: {fsync: always}\n"
    held = call("hold", key="intent")
    with running_gateway(setup, tmp_path) as gateway, Caller(gateway).open("POST", held) as answer:
        recorder.wait("request", "intent")
        (entry,) = entries(tmp_path, "call")
        assert entry["effect"] == "allow"
        assert entries(tmp_path, "settled") == []
        recorder.release("intent")
        answer.read()
    assert [settled["id"] for settled in entries(tmp_path, "settled")] == [entry["id"]]
    assert verified(tmp_path).ok


# --- 9: under concurrency. Across restarts: see test_history ------------------------------------------


@requirement("invariant/9")
def test_invariant_9_what_is_counted_is_counted_before_the_call_goes_on(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    """Ten parallel calls against a limit of three in flight: never more than three reach the server."""
    files = {
        "gateway/decision/decision.rego": tiny_policy.decision("input.subject.id\n\tinput.session.in_flight <= 3"),
        "gateway/visibility/visibility.rego": tiny_policy.visibility("input.subject.id"),
    }
    tree = tiny_policy.write(tmp_path / "policy", files)
    with running_gateway(open_config(tree, {"echo": echo_server.mcp}), tmp_path) as gateway:
        with ThreadPoolExecutor(10) as threads:
            held = [threads.submit(Caller(gateway).call, "hold", key="parallel") for _ in range(10)]
            try:
                until(lambda: sum(one.done() for one in held) >= 7 and len(calls(recorder)) >= 3)
                assert len(calls(recorder)) == 3
            finally:
                recorder.release("parallel")
            texts = [one.result(30) for one in held]
        assert sum(b"released" in answer.body for answer in texts) == 3
        until(lambda: Caller(gateway).call("echo", text="room again").body.count(b"room again") == 1)


# --- 10: see also test_faults_policy ---------------------------------------------------------------


@requirement("invariant/10")
def test_invariant_10_when_what_decides_is_slow_the_answer_is_no(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    overlay = slow_overlay(tmp_path, 'input.subject.properties.issuer == "urn:opagate:anonymous"')
    setup = open_config(policy(tmp_path), {"echo": echo_server.mcp})
    setup = setup.replace("deadline: 5s}", f"deadline: 100ms}}, overlay: '{overlay}'")
    with running_gateway(setup, tmp_path) as gateway:
        recorder.take()
        answers = [Caller(gateway).call("echo") for _ in range(8)]
        listed = Caller(gateway).ask(stateless("tools/list")).json["result"]["tools"]

    assert {answer.codes[0] for answer in answers} == {"policy/late"}
    assert listed == []
    assert calls(recorder) == []
