"""Pushed signals at a whole gateway: refused with their code, or recorded, taken once, and carried out."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from gateway import config
from gateway.model.errors import JournalError
from gateway.model.wire import UpstreamReply, UpstreamRequest
from gateway.surfaces.app.serving import build_edge
from tests.signalling import AUDIENCE, CAEP, ISSUER, SSF, Provider, account, opaque, whole
from tests.unit.harness import Answer, Back, Bench, Upstream, bench, call, result
from tests.unit.surfaces.pages.asking import ask_page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

GRANTS = """
upstreams:
  files:
    - {id: all, agents: ["*"], issuers: ["*"], tools: ["*"], effects: [read, write], sensitivity: restricted}
"""
SET = (b"content-type", b"application/secevent+jwt")


class Answering(Upstream):
    """Answers calls of agents too."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        if request.message is None or request.message.method != "tools/call":
            return await super().send(request)
        self.sent.append(request)
        back = self.script(request)
        assert isinstance(back, Back)
        return UpstreamReply(200, ((b"content-type", b"application/json"),), self._chunks(back.chunks), self.aclose)


@dataclass
class Place:
    """A gateway with one provider."""

    there: Bench
    idp: Provider

    async def push(self, token: bytes, *headers: tuple[bytes, bytes], name: str = "idp") -> Answer:
        return await ask_page(self.there, "POST", f"/ssf/{name}", *(headers or (SET,)), body=token, is_json=False)

    async def call(self, token: str, *headers: tuple[bytes, bytes]) -> Answer:
        return await self.there.ask(call(path="a"), (b"authorization", f"Bearer {token}".encode()), *headers)

    def token(self, sub: str = "ann", **more: Any) -> str:
        return self.idp.token(sub, audience="http://127.0.0.1:8080/mcp", **more)

    async def settle(self) -> None:
        """Let the ends begin that follow an answer."""
        for _ in range(5):
            await asyncio.sleep(0)

    def leases(self) -> list[str]:
        authority = self.there.gateway.authority
        assert authority is not None
        return sorted(f"{lease.user} {lease.state}" for lease in authority.leases.all() if lease.task != "catalogue")


@asynccontextmanager
async def place(
    folder: Path, idp: Provider | None = None, *, settings: str = "", more: str = ""
) -> AsyncGenerator[Place]:
    provider = idp or Provider()
    keys = provider.write_keys(folder)
    identity = f"{{kind: jwt, issuer: '{ISSUER}', jwks: '{keys}'}}"
    signals = f"signals:\n  - {{kind: ssf, name: idp, transmitter: '{ISSUER}', jwks: '{keys}', audience: '{AUDIENCE}'{settings}}}\n"
    async with bench(folder, Answering(), signals + more, identity=identity, grants=GRANTS) as there:
        there.upstream.script = lambda request: result(request, {"content": []})
        yield Place(there, provider)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for work beside requests, at most ten seconds."""
    async with asyncio.timeout(300):
        while not is_so():
            await asyncio.sleep(0.005)


def lend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the upstream of the bench lend tokens of the gateway to tasks."""
    parse = config.parse

    def parsed(text: str, **fields: Any) -> Any:
        lent = "credential: {kind: gateway, bind: task, scopes: {read: [files.read]}}"
        return parse(text.replace("audience: files\n", f"audience: files\n    {lent}\n", 1), **fields)

    monkeypatch.setattr(config, "parse", parsed)


async def test_a_revoked_session_refuses_its_tokens_and_a_new_login_lives(tmp_path: Path):
    async with place(tmp_path) as here:
        now = time.time()
        old, others = here.token(issued=now - 60), here.token("bob", issued=now - 60)
        assert (await here.call(old)).status == 200

        answer = await here.push(here.idp.event(account("ann"), details={"event_timestamp": now - 10}))

        assert (answer.status, answer.body) == (202, b"")
        refused = await here.call(old)
        assert (refused.status, refused.codes) == (401, ["identity/revoked"])
        assert b'error="invalid_token"' in dict(refused.headers)[b"www-authenticate"]
        assert (await here.call(others)).status == 200
        assert (await here.call(here.token(issued=now - 5))).status == 200
        (entry,) = here.there.entries("signal")
        assert (entry["action"], entry["issuer"], entry["jti"]) == ("ended", ISSUER, "set-2")
        assert "ann" not in json.dumps(entry)


async def test_a_token_of_an_old_login_is_refused_also_when_it_is_new(tmp_path: Path):
    """A refreshed token has a new `iat` and the `auth_time` of its login."""
    async with place(tmp_path) as here:
        now = time.time()
        await here.push(here.idp.event(account("ann"), details={"event_timestamp": now - 10}))

        assert (await here.call(here.token(issued=now, auth_time=now - 600))).status == 401
        assert (await here.call(here.token(issued=now, auth_time=now - 5))).status == 200
        assert (await here.call(here.token(issued=now - 10))).status == 401, "the second of the event is not after it"


async def test_one_session_ends_and_another_of_the_same_user_lives(tmp_path: Path):
    async with place(tmp_path) as here:
        now = time.time()
        first, second = here.token(sid="s-1", issued=now - 60), here.token(sid="s-2", issued=now - 60)
        await here.push(here.idp.event(whole(user=account("ann"), session=opaque("s-1"))))

        assert (await here.call(first)).status == 401
        assert (await here.call(second)).status == 200
        assert (await here.call(here.token(sid="s-1", issued=now + 5))).status == 401, "a session does not come back"

        await here.push(here.idp.event(whole(user=account("ann"), session=opaque("ALL"))))
        assert (await here.call(second)).status == 401


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sub": "ann"}, "invalid_request"),
        ({"exp": 2_000_000_000}, "invalid_request"),
        ({"header": {"typ": "JWT"}}, "invalid_request"),
        ({"header": {"typ": None}}, "invalid_request"),
        ({"header": {"crit": ["b64"], "b64": True}}, "invalid_request"),
        ({"header": {"kid": "unknown"}}, "invalid_key"),
        ({"events": {f"{CAEP}session-revoked": {}, f"{CAEP}credential-change": {}}}, "invalid_request"),
        ({"aud": "https://other.example"}, "invalid_audience"),
        ({"iss": "https://other.example"}, "invalid_issuer"),
        ({"iat": int(time.time()) + 3600}, "invalid_request"),
        ({"iat": None}, "invalid_request"),
        ({"jti": None}, "invalid_request"),
        ({"sub_id": None}, "invalid_request"),
        ({"sub_id": {"format": "complex", "user": "ann"}}, "invalid_request"),
        ({"sub_id": account("ann", "https://other.example")}, "access_denied"),
        ({"padding": "x" * 1_000_000}, "invalid_request"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
async def test_an_event_that_breaks_the_rules_is_refused_and_ends_nothing(
    tmp_path: Path, changes: dict[str, Any], code: str
):
    async with place(tmp_path) as here:
        caller = here.token(issued=time.time() - 60)
        answer = await here.push(here.idp.event(account("ann"), **changes))

        assert (answer.status, answer.json["err"]) == (400, code), answer.body
        assert answer.json["description"]
        assert (await here.call(caller)).status == 200
        assert here.there.entries("signal") == []
        assert [entry["reasons"][0]["code"] for entry in here.there.entries("refused")] == [
            f"signal/{code.replace('_', '-')}"
        ]


@pytest.mark.parametrize("body", [b"", b"x", b"\xff.a.b", b"a.b.c", b"{}", b"eyJ.eyJ.x" * 10])
async def test_a_body_that_is_no_token_is_refused(tmp_path: Path, body: bytes):
    async with place(tmp_path) as here:
        answer = await here.push(body)

    assert (answer.status, answer.json["err"]) == (400, "invalid_request")


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_an_event_signed_by_another_key_or_a_weak_one_is_refused(tmp_path: Path):
    weak = Provider(key=RSAKey.generate_key(1024, {"kid": "weak"}), algorithm="RS256", kid="weak")
    idp = Provider(further=(weak,))
    async with place(tmp_path, idp) as here:
        forged = Provider(key=ECKey.generate_key("P-256"))
        answer = await here.push(forged.event(account("ann")))
        assert (answer.status, answer.json["err"]) == (400, "invalid_key")

        answer = await here.push(weak.event(account("ann")))
        assert (answer.status, answer.json["err"]) == (400, "invalid_key")


@pytest.mark.parametrize(
    "headers",
    [((b"content-type", b"application/json"),), ((b"accept", b"*/*"),), (SET, SET)],
    ids=["json", "none", "two"],
)
async def test_another_content_type_is_refused(tmp_path: Path, headers: tuple[tuple[bytes, bytes], ...]):
    async with place(tmp_path) as here:
        answer = await here.push(here.idp.event(account("ann")), *headers)

    assert (answer.status, answer.json["err"]) == (400, "invalid_request")


async def test_a_stream_with_an_authorization_header_refuses_a_push_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PUSH", "Bearer push-secret-1")
    async with place(tmp_path, settings=", authorization: '${PUSH}'") as here:
        event = here.idp.event(account("ann"))
        for named in ((), ((b"authorization", b"Bearer other"),), ((b"authorization", b"Bearer push-secret-1"),) * 2):
            answer = await here.push(event, SET, *named)
            assert (answer.status, answer.json["err"]) == (400, "authentication_failed")
        assert (await here.push(event, SET, (b"authorization", b"Bearer push-secret-1"))).status == 202


async def test_a_name_that_no_stream_has_is_no_page(tmp_path: Path):
    async with place(tmp_path) as here:
        assert (await here.push(here.idp.event(account("ann")), name="other")).status == 404
        assert (await ask_page(here.there, "GET", "/ssf/idp")).status == 405


async def test_a_repeated_event_is_taken_once_and_another_with_its_jti_is_refused(tmp_path: Path):
    async with place(tmp_path) as here:
        event = here.idp.event(account("ann"), jti="once")
        answers = await asyncio.gather(*(here.push(event) for _ in range(20)))
        assert {answer.status for answer in answers} == {202}
        assert len(here.there.entries("signal")) == 1

        answer = await here.push(here.idp.event(account("bob"), jti="once"))
        assert (answer.status, answer.json["err"]) == (400, "invalid_request")
        assert (await here.call(here.token("bob", issued=time.time() - 60))).status == 200


async def test_a_restart_forgets_neither_an_ended_login_nor_an_event(tmp_path: Path):
    idp = Provider()
    async with place(tmp_path, idp) as here:
        old = here.token(issued=time.time() - 60)
        event, other = idp.event(account("ann"), jti="before"), idp.event(account("bob"), jti="before")
        await here.push(event)
    async with place(tmp_path, idp) as here:
        assert (await here.call(old)).status == 401
        assert (await here.push(other)).status == 400
        assert (await here.push(event)).status == 202
        assert len(here.there.entries("signal")) == 1


async def test_an_end_counts_also_if_it_cannot_be_recorded_and_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with place(tmp_path) as here:
        old, event = here.token(issued=time.time() - 60), here.idp.event(account("ann"))
        append = here.there.gateway.journal.append

        async def broken(kind: str, fields: Any) -> None:
            if kind == "signal":
                raise JournalError("the disk is full", "make room")
            await append(kind, fields)

        receiver = here.there.gateway.signals
        assert receiver is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(receiver.receiver, "_append", broken)
            assert (await here.push(event)).status == 503
        assert (await here.call(old)).status == 401
        assert (await here.push(event)).status == 202
        assert len(here.there.entries("signal")) == 1


async def test_facts_reach_the_policy_until_a_benign_event_or_a_new_login(tmp_path: Path):
    async with place(tmp_path) as here:
        now = time.time()
        caller = here.token(issued=now - 60)
        risk, level = f"{CAEP}risk-level-change", "current_level"
        await here.push(here.idp.event(account("ann"), risk, details={level: "HIGH", "event_timestamp": now - 30}))
        await here.push(here.idp.event(account("ann"), f"{CAEP}credential-change", details={"change_type": "update"}))

        async def facts(token: str) -> list[tuple[str, str]]:
            assert (await here.call(token)).status == 200
            return [(fact["type"], fact["level"]) for fact in here.there.entries("call")[-1].get("signals", ())]

        assert await facts(caller) == [("risk-level-change", "high"), ("credential-change", "update")]
        assert await facts(here.token("bob", issued=now - 60)) == []
        assert await facts(here.token(issued=now + 5)) == [("risk-level-change", "high")]

        await here.push(here.idp.event(account("ann"), risk, details={level: "LOW", "event_timestamp": now - 20}))
        assert await facts(here.token(issued=now + 5)) == []
        await here.push(here.idp.event(account("ann"), risk, details={level: "HIGH", "event_timestamp": now - 25}))
        assert await facts(here.token(issued=now + 5)) == [], "an older event came late"
        assert [entry["action"] for entry in here.there.entries("signal")] == ["noted", "noted", "closed", "noted"]


async def test_the_effect_of_an_event_is_configured(tmp_path: Path):
    async with place(tmp_path, settings=", on_event: {session-revoked: ignore, credential-change: end}") as here:
        caller = here.token(issued=time.time() - 60)
        await here.push(here.idp.event(account("ann")))
        assert (await here.call(caller)).status == 200
        await here.push(here.idp.event(account("ann"), f"{CAEP}credential-change"))
        assert (await here.call(caller)).status == 401
        assert [entry["action"] for entry in here.there.entries("signal")] == ["ignored", "ended"]


async def test_events_without_a_use_are_recorded_and_change_nothing(tmp_path: Path):
    async with place(tmp_path) as here:
        caller = here.token(issued=time.time() - 60)
        await here.push(here.idp.event(None, f"{SSF}verification", details={"state": "x"}))
        await here.push(here.idp.event(account("ann"), f"{CAEP}session-established"))
        await here.push(here.idp.event(whole(device=opaque("laptop"))))
        await here.push(here.idp.event(None, f"{SSF}stream-updated", details={"status": "paused"}))
        assert (await here.call(caller)).status == 200
        assert [entry["action"] for entry in here.there.entries("signal")] == ["ignored", "unjudged", "status"]


async def test_a_revoked_session_ends_leases_and_declared_tasks_of_its_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lend(monkeypatch)
    async with place(tmp_path) as here:
        now = time.time()
        tokens = {name: here.token(name, issued=now - 60) for name in ("ann", "bob")}
        tasks: dict[str, Any] = {}
        for name, token in tokens.items():
            bearer = (b"authorization", f"Bearer {token}".encode())
            body = json.dumps({"goal": "read files", "expires_in": 600}).encode()
            tasks[name] = (await ask_page(here.there, "POST", "/tasks", bearer, body=body)).json
            assert "token" in tasks[name], tasks[name]
            task = (b"opagate-task", tasks[name]["token"].encode())
            assert (await here.call(token, task)).status == 200
        assert here.leases() == ["ann active", "bob active"]

        await here.push(here.idp.event(account("ann")))
        await here.settle()

        assert "ann active" not in here.leases()
        assert "bob active" in here.leases()
        await until(lambda: any(entry["event"] == "revoked" for entry in here.there.entries("lease")))
        ended = {entry["id"] for entry in here.there.entries("lease") if entry.get("cause") == "signal"}
        assert len(ended) == 1
        history = here.there.gateway.history
        assert not history.tasks.is_open(tasks["ann"]["id"], time.time())
        assert history.tasks.is_open(tasks["bob"]["id"], time.time())
        again = await here.call(here.token(issued=now + 5), (b"opagate-task", tasks["ann"]["token"].encode()))
        assert again.status == 403, "the task is over, also for a new login"


async def test_no_lease_is_issued_for_a_login_that_ends_while_its_call_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lend(monkeypatch)
    async with place(tmp_path) as here:
        caller = here.token(issued=time.time() - 60)
        policy = here.there.gateway.policy
        decide = policy.decide

        async def late(document: Any) -> Any:
            decision = await decide(document)
            await here.push(here.idp.event(account("ann")))
            return decision

        monkeypatch.setattr(policy, "decide", late)
        answer = await here.call(caller)
        await here.settle()

        assert answer.codes == ["identity/revoked"]
        assert not [
            request
            for request in here.there.upstream.sent
            if request.message and request.message.method == "tools/call"
        ]
        assert here.leases() == []
        assert [entry["outcome"] for entry in here.there.entries("settled")] == ["refused"]


async def test_a_flood_of_refused_events_is_bounded(tmp_path: Path):
    async with place(tmp_path) as here:
        edge = build_edge(here.there.configuration, here.there.gateway, lambda: False)
        statuses = [
            (await ask_page(here.there, "POST", "/ssf/idp", SET, body=b"x", edge=edge, is_json=False)).status
            for _ in range(602)
        ]

    assert statuses == [400] * 600 + [429] * 2


async def test_a_silence_ends_all_logins_of_the_issuer_and_new_ones_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lend(monkeypatch)
    async with place(tmp_path) as here:
        now = time.time()
        tokens = [here.token(name, issued=now - 60) for name in ("ann", "bob")]
        for token in tokens:
            assert (await here.call(token)).status == 200
        signals = here.there.gateway.signals
        assert signals.receiver is not None
        await signals.receiver.end_all_of(signals.sources[0].stream)

        for token in tokens:
            assert (await here.call(token)).codes == ["identity/revoked"]
        assert [lease for lease in here.leases() if "active" in lease] == []
        assert (await here.call(here.token(issued=now + 5))).status == 200
        (entry,) = here.there.entries("signal")
        assert (entry["type"], entry["action"]) == ("silence", "ended")


async def test_a_restart_ends_the_declared_tasks_of_a_login_that_ended_before_it(tmp_path: Path):
    idp = Provider()
    async with place(tmp_path, idp) as here:
        tasks = {name: await declared(here, here.token(name, issued=time.time() - 60)) for name in ("ann", "bob")}
        signals = here.there.gateway.signals
        assert signals.receiver is not None
        # As if the process had ended between its answer and the end of the tasks.
        ended: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(signals.receiver, "_on_end", ended.append)
            await here.push(idp.event(account("ann")))
            await here.settle()
        assert here.there.gateway.history.tasks.is_open(tasks["ann"], time.time())
    async with place(tmp_path, idp) as here:
        assert not here.there.gateway.history.tasks.is_open(tasks["ann"], time.time())
        assert here.there.gateway.history.tasks.is_open(tasks["bob"], time.time())


async def declared(here: Place, token: str) -> str:
    """Open a declared task, and return its id."""
    bearer = (b"authorization", f"Bearer {token}".encode())
    body = json.dumps({"goal": "read files", "expires_in": 600}).encode()
    return (await ask_page(here.there, "POST", "/tasks", bearer, body=body)).json["id"]


async def test_the_tasks_of_another_session_of_the_same_user_go_on(tmp_path: Path):
    async with place(tmp_path) as here:
        now = time.time()
        first, second = (here.token(sid=sid, issued=now - 60) for sid in ("s-1", "s-2"))
        task = await declared(here, first)
        await here.call(second)

        await here.push(here.idp.event(whole(user=account("ann"), session=opaque("s-1"))))
        await here.settle()
        assert here.there.gateway.history.tasks.is_open(task, time.time())

        await here.push(here.idp.event(whole(user=account("ann"), session=opaque("s-2"))))
        await here.settle()
        assert not here.there.gateway.history.tasks.is_open(task, time.time())


async def test_a_full_register_takes_no_further_subject_and_forgets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with place(tmp_path) as here:
        register = here.there.gateway.signals.register
        monkeypatch.setattr(register, "_capacity", 3)
        for number in range(3):
            assert (await here.push(here.idp.event(account(f"u-{number}")))).status == 202
        answer = await here.push(here.idp.event(account("ann")))
        assert answer.status == 503
        assert (await here.push(here.idp.event(account("u-1")))).status == 202, "a known subject needs no room"
        assert [entry["reasons"][0]["code"] for entry in here.there.entries("refused")] == ["records/unavailable"]


async def test_a_device_that_no_longer_complies_ends_the_leases_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lend(monkeypatch)
    async with place(tmp_path) as here:
        kind, status = f"{CAEP}device-compliance-change", "current_status"
        tokens = {name: here.token(name, issued=time.time() - 60) for name in ("ann", "bob")}
        for token in tokens.values():
            assert (await here.call(token)).status == 200
        assert here.leases() == ["ann active", "bob active"]

        await here.push(here.idp.event(account("ann"), kind, details={status: "not-compliant"}))
        await until(lambda: here.leases() == ["bob active"])
        assert (await here.call(tokens["ann"])).codes == ["signal/adverse"]
        causes = [entry.get("cause") for entry in here.there.entries("lease") if entry["event"] == "ending"]
        assert causes == ["signal"]

        later = {status: "compliant", "event_timestamp": time.time() + 1}
        await here.push(here.idp.event(account("ann"), kind, details=later))
        answer = await here.call(tokens["ann"])
        assert b"io.opagate/decision" not in answer.body
