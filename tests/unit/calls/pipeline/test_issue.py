"""The credential of a request: whose token is exchanged, what policy narrows, and which answers end a lease."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from joserfc.jwk import ECKey

from gateway.authority.introspection import ActiveTokens
from gateway.authority.lending import Authority, Lives, UpstreamTerms
from gateway.authority.minting import Mint
from gateway.authority.model import Credential
from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.calls.pipeline.issue import AttachedCredential, Issuer
from gateway.model.caller import AuthMethod, Principal
from gateway.model.decision import Decision, Obligation, PolicyRevision, Refusal
from gateway.model.errors import UpstreamUnauthorized
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.wire import UpstreamCredential, UpstreamRequest
from gateway.wire.protocol.headers import group_headers
from gateway.wire.protocol.replies import Reply
from tests.unit.authority.lending import Lending
from tests.unit.live import live_values

TOKEN = ".".join(["e30", base64.urlsafe_b64encode(json.dumps({"exp": 1030}).encode()).decode().rstrip("="), "sig"])


class _Catalogue:
    def target(self, upstream: str, kind: Any, name: str) -> Target:
        return Target(kind, upstream, name, "https://crm.example", labels=Labels(Effect.READ))


class _Policy:
    def status(self) -> Any:
        return SimpleNamespace(revision="1")


class Bench:
    """A gateway with one leased upstream, and one caller."""

    def __init__(
        self, folder: Path, scopes: dict[Effect, tuple[str, ...]], kind: str = "exchange", *, hands_over: bool = False
    ) -> None:
        self.lending = Lending(folder)
        self.lending.open_tasks.add("messages:agent")
        terms = {"crm": UpstreamTerms("bao", kind, "https://crm.example", scopes, hands_over=hands_over)}
        lives = Lives(60.0, 900.0, {Sensitivity.RESTRICTED: 5.0})
        numbers = iter(range(10**6))
        authority = Authority(
            self.lending.leases,
            self.lending.fleet,
            Mint(KeyRing(SigningKey(ECKey.generate_key("P-256"))), "https://gateway.example"),
            ActiveTokens(),
            terms,
            lives,
            lambda: self.lending.now,
            lambda: f"l{next(numbers)}",
            live=live_values(),
        )
        self.authority = authority
        self.issuer = Issuer(authority, None, cast("Any", _Catalogue()), cast("Any", _Policy()))
        headers = ((b"authorization", f"Bearer {TOKEN}".encode()),)
        self.context = cast(
            "Any", SimpleNamespace(id="d1", exchange=SimpleNamespace(upstream="crm", fields=group_headers(headers)))
        )
        self.subjects: list[str | None] = []
        issue = self.lending.broker.issue

        async def noted(request: Any, prepared: Any) -> Any:
            self.subjects.append(request.subject_token)
            return await issue(request, prepared)

        self.lending.broker.issue = noted

    async def call(
        self, method: AuthMethod = AuthMethod.JWT, sensitivity: Sensitivity = Sensitivity.INTERNAL, **narrowed: Any
    ) -> AttachedCredential | Refusal:
        principal = Principal(id="agent", issuer="https://idp.example", method=method)
        labels = Labels(Effect.READ, sensitivity=sensitivity)
        target = Target("tool", "crm", "find", "https://crm.example", labels=labels)
        prepared = SimpleNamespace(
            call=SimpleNamespace(target=target),
            task=SimpleNamespace(id="t1", expires=None),
            request=SimpleNamespace(principal=principal),
        )
        obligations = (Obligation("issue_credential", narrowed),) if narrowed else ()
        decision = Decision("allow", (), obligations, PolicyRevision("p", "1"))
        found = await self.issuer.issue_credential(self.context, cast("Any", prepared), decision)
        assert not isinstance(found, Reply)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, {Effect.READ: ("crm.read",)})


def lease_of(attached: AttachedCredential | Refusal) -> Any:
    assert isinstance(attached, AttachedCredential)
    assert attached.lent is not None
    return attached.lent.lease


@pytest.mark.parametrize(
    ("method", "is_sent"),
    [
        (AuthMethod.JWT, True),
        (AuthMethod.SPIFFE_X509, False),
        (AuthMethod.SPIFFE_JWT, False),
        (AuthMethod.DEVELOPMENT, False),
    ],
)
async def test_only_the_token_that_identified_the_caller_is_exchanged(
    bench: Bench, method: AuthMethod, *, is_sent: bool
):
    await bench.call(method)

    assert bench.subjects == [TOKEN if is_sent else None]


async def test_a_restricted_tool_does_not_carry_the_longer_lease_of_another(bench: Bench):
    long, short = lease_of(await bench.call()), lease_of(await bench.call(sensitivity=Sensitivity.RESTRICTED))

    assert (long.expires - bench.lending.now, short.expires - bench.lending.now) == (30.0, 5.0)


@pytest.mark.parametrize("method", [AuthMethod.JWT, AuthMethod.DEVELOPMENT, AuthMethod.SPIFFE_JWT])
async def test_no_lease_outlives_the_token_of_its_caller(bench: Bench, method: AuthMethod):
    assert lease_of(await bench.call(method)).expires == 1030.0


async def test_policy_shortens_a_lease_that_is_there_already(bench: Bench):
    await bench.call()

    assert lease_of(await bench.call(ttl_seconds=10)).expires == bench.lending.now + 10


@pytest.mark.parametrize(
    ("narrowed", "code"),
    [
        ({"scope": "crm.read crm.write"}, "credential/scope"),
        ({"audience": "https://mail.example"}, "credential/audience"),
        ({"bind": "call"}, "credential/bind"),
        ({"details": [{"type": "io.opagate.call"}]}, "credential/details"),
    ],
)
async def test_terms_that_a_broker_cannot_keep_refuse_the_call(bench: Bench, narrowed: dict[str, Any], code: str):
    refusal = await bench.call(**narrowed)

    assert isinstance(refusal, Refusal)
    assert refusal.reason.code == code
    assert bench.lending.broker.asked == 0


async def test_messages_of_an_upstream_without_scopes_to_read_carry_nothing(tmp_path: Path):
    bench = Bench(tmp_path, {Effect.WRITE: ("crm.write",)})
    request = cast("Any", SimpleNamespace(principal=Principal("agent", "https://idp.example", AuthMethod.JWT)))

    attached = await bench.issuer.issue_for_message(bench.context, request)

    assert attached == AttachedCredential()
    assert bench.lending.broker.asked == 0


@pytest.mark.parametrize("is_unknown", [True, False])
async def test_only_an_upstream_that_does_not_know_a_credential_ends_it(bench: Bench, *, is_unknown: bool):
    attached = await bench.call()
    assert isinstance(attached, AttachedCredential)

    bench.issuer.note_rejected(attached, UpstreamUnauthorized("no", "ask", is_unknown=is_unknown))

    assert (bench.lending.leases._values == {}) is is_unknown  # pyright: ignore[reportPrivateUsage]


def test_the_value_of_a_credential_goes_out_as_its_broker_gave_it():
    given = base64.b64encode(b"user:password-1").decode()
    request = UpstreamRequest("GET", (), Principal("agent", "https://idp.example", AuthMethod.JWT))

    sent = AttachedCredential(Credential(given, scheme="Basic")).carried_by(request)

    assert sent.credential == UpstreamCredential(b"authorization", f"Basic {given}".encode())
    assert given not in repr(sent)


def test_a_short_part_of_a_secret_is_not_looked_for_in_answers():
    found = Credential("dTpwYXNzd29yZC0x", fields=(("username", "u"), ("password", "password-1"), ("ttl", "60")))

    assert found.secrets() == ("dTpwYXNzd29yZC0x", "password-1")


async def test_a_process_gets_the_credential_of_its_terms_and_no_header(tmp_path: Path):
    bench = Bench(tmp_path, {Effect.READ: ("crm.read",)}, hands_over=True)
    request = UpstreamRequest("POST", (), Principal(id="agent", issuer="i", method=AuthMethod.JWT))
    attached = await bench.call()
    assert isinstance(attached, AttachedCredential)
    carried = attached.carried_by(request)
    assert carried.handed is not None
    assert (carried.credential, carried.handed.lease, carried.handed.value) == (None, "l0", "secret-1")
    assert "secret-1" not in repr(carried)
    again = await bench.call()
    assert isinstance(again, AttachedCredential)
    assert again.carried_by(request).handed == carried.handed


@pytest.mark.parametrize("kind", ["exchange", "gateway"])
async def test_no_process_gets_the_credential_of_one_call(tmp_path: Path, kind: str):
    bench = Bench(tmp_path, {Effect.READ: ("crm.read",)}, kind, hands_over=True)
    refusal = await bench.call(bind="call")
    assert isinstance(refusal, Refusal)
    assert refusal.reason.code == "credential/bind"


async def test_a_get_of_a_session_starts_no_process(tmp_path: Path):
    bench = Bench(tmp_path, {Effect.READ: ("crm.read",)}, hands_over=True)
    request = UpstreamRequest("GET", (), Principal(id="agent", issuer="https://idp.example", method=AuthMethod.JWT))
    assert await bench.issuer.issue_for_message(bench.context, request) == AttachedCredential()
    assert bench.lending.broker.asked == 0

    await bench.call()
    assert await bench.issuer.issue_for_message(bench.context, request) == AttachedCredential()
    assert len(bench.authority.live) == 1, "the token with which its process asks for its credential"


async def test_a_used_up_budget_ends_the_leases_of_its_task_once(bench: Bench):
    first = lease_of(await bench.call())
    bench.authority.end_spent(first.task)
    assert bench.lending.leases.permitted() == ()

    # The policy lets the task read on. Its refused calls end nothing any more.
    second = lease_of(await bench.call())
    bench.authority.end_spent(first.task)
    assert [lease.id for lease, _ in bench.lending.leases.permitted()] == [second.id]


async def test_the_token_of_a_call_that_outlived_it_is_forgotten_all_the_same(bench: Bench):
    bench.authority.live.hold("d9", ["Rk3vQ8-zL0pWm5xT_9cYb2Nd7uHs4Gj6"], "crm")
    bench.authority.end_call("d9")
    assert "d9" in bench.authority.live._due  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("kind", "name", "effect", "scopes"),
    [
        ("tool", "find_orders", Effect.READ, ("orders:read",)),
        ("tool", "find_people", Effect.READ, ("people:read",)),
        ("tool", "pay", Effect.READ, None),
        ("tool", "pay", Effect.WRITE, ("orders:write",)),
        ("tool", "other", Effect.READ, ("orders:read", "people:read")),
        ("tool", "other", Effect.MINT, None),
        ("prompt", "find_orders", Effect.READ, ("orders:read", "people:read")),
    ],
)
def test_a_tool_gets_the_scopes_of_its_effect_that_it_needs(
    kind: Any, name: str, effect: Effect, scopes: tuple[str, ...] | None
) -> None:
    given = {Effect.READ: ("orders:read", "people:read"), Effect.WRITE: ("orders:write",)}
    needed = {"find_*": ("orders:read",), "find_people": ("people:read",), "pay": ("orders:write",)}
    terms = UpstreamTerms("bao", "exchange", "https://crm.example", given, tool_scopes=needed)
    assert terms.scopes_of(Target(kind, "crm", name, "https://crm.example", labels=Labels(effect))) == scopes
