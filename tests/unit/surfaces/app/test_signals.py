"""Ended logins at a gateway with signals and at one without: the look at them is left out without signals alone."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from joserfc.jwk import ECKey

from gateway.authority.signals.register import Effect, Signal
from gateway.authority.signals.subjects import SignalSubject
from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.config.keys import Keys
from gateway.identity.identities import Identities
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import StoreError
from gateway.surfaces.app import signals
from gateway.surfaces.app.signals import SignalMemory
from tests.unit.base.store.keeping import sealed_store
from tests.unit.harness import allow, bench, call, deciding
from tests.unit.identity.tokens import (
    ISSUER,
    NOW,
    Clock,
    Signer,
    accepted,
    bearer,
    configuration,
    jwt_identity,
    refused,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.decision import Decision

KEYS = Keys(
    KeyRing(b"c" * 32),
    KeyRing(b"e" * 32),
    KeyRing(b"s" * 32),
    b"f" * 32,
    KeyRing(SigningKey(ECKey.generate_key("P-256"))),
)
STREAM = {"kind": "ssf", "transmitter": ISSUER}


def everybody(at: float, effect: Effect, issuer: str = ISSUER) -> Signal:
    """Return a signal about each caller of an issuer."""
    return Signal("idp", frozenset({issuer}), SignalSubject(), "session-revoked", at, effect)


def memory_of(folder: Path, *, signals: bool) -> SignalMemory:
    more = {"signals": [STREAM]} if signals else {}
    return SignalMemory(configuration(folder, **more), sealed_store(folder), None)


async def test_a_first_signal_ends_a_login_that_was_verified_before_it(tmp_path: Path):
    signer = Signer()
    (tmp_path / "keys.json").write_bytes(signer.jwks())
    settings = configuration(tmp_path, jwt_identity(tmp_path / "keys.json"))
    memory = memory_of(tmp_path, signals=True)
    identities = Identities.build(settings, clock=Clock(), is_ended=memory.is_ended)
    await identities.start()
    try:
        credentials = bearer(signer.token(iat=NOW - 20))
        caller = accepted(await identities.identify(credentials, None))
        assert memory.seen.of(caller.key) == (caller,), "the first signal finds the tasks of the callers before it"
        accepted(await identities.identify(credentials, None))

        signal = memory.register.put(everybody(NOW - 10, "end"))
        refused(await identities.identify(credentials, None), "identity/revoked")
        accepted(await identities.identify(bearer(signer.token(iat=NOW - 5)), None))
        memory.register.remove(signal.id)
        accepted(await identities.identify(credentials, None))
    finally:
        await identities.stop()


@pytest.mark.parametrize(
    ("issued", "logged_in", "is_covered"),
    [(90, None, True), (90, 5_000, True), (120, 90, True), (120, 110, False), (120, 5_000, False), (None, None, True)],
)
def test_a_login_counts_from_the_earlier_of_its_time_and_that_of_its_token(
    issued: float | None, logged_in: float | None, *, is_covered: bool
):
    caller = Principal("agent", ISSUER, AuthMethod.JWT, issued=issued, logged_in=logged_in)

    assert everybody(100, "end").covers(caller) is is_covered


def test_without_signals_no_login_is_looked_at_and_none_can_be_ended(tmp_path: Path):
    memory = memory_of(tmp_path, signals=False)

    assert (memory.is_ended, len(memory.register)) == (None, 0)


def test_a_login_is_ended_where_the_register_has_it_and_noted_everywhere_else(tmp_path: Path):
    memory, random, ended = memory_of(tmp_path, signals=True), Random(23), 0
    kept: list[Signal] = []
    for number in range(500):
        if kept and random.random() < 0.5:
            memory.register.remove(kept.pop(random.randrange(len(kept))).id)
        else:
            effect: Effect = random.choice(("end", "note"))
            kept.append(memory.register.put(everybody(random.uniform(0, 100), effect, f"https://{number % 3}.example")))
            kept = list(memory.register)
        issuer = f"https://{random.randrange(3)}.example"
        caller = Principal(f"a{number}", issuer, AuthMethod.JWT, issued=random.uniform(0, 100))
        assert memory.is_ended is not None
        expected = any(each.effect == "end" and each.covers(caller) for each in kept)
        assert memory.is_ended(caller) is expected
        assert memory.seen.of(caller.key) == (() if expected else (caller,))
        ended += expected
    assert 50 < ended < 450


async def test_the_policy_hears_of_the_first_signal_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path) as there:
        asked: Any = deciding(there, allow(), monkeypatch)
        await there.ask(call())
        (caller,) = {entry["principal"]["issuer"] for entry in there.entries("call")}
        there.gateway.signals.register.put(everybody(there.gateway.clock(), "note", caller))
        await there.ask(call())

        assert ["signals" in each["context"] for each in asked] == [False, True]


async def test_a_login_that_the_first_signal_ends_during_the_decision_sends_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with bench(tmp_path) as there:
        gateway = there.gateway

        async def decide(document: Any) -> Decision:
            gateway.signals.register.put(everybody(gateway.clock(), "end", document["subject"]["properties"]["issuer"]))
            return allow()

        monkeypatch.setattr(gateway.policy, "decide", decide)
        sent = len(there.upstream.sent)
        answer = await there.ask(call())

        assert b"identity/revoked" in answer.body
        assert len(there.upstream.sent) == sent


@dataclass
class Claimed:
    """The claim of one gateway beside others. `living` are the ids of all."""

    id: str
    living: frozenset[str] | None

    async def list_living(self) -> frozenset[str]:
        if self.living is None:
            raise StoreError("PostgreSQL is away", "start it")
        return self.living


async def test_one_of_the_living_gateways_polls_a_stream(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signals, "TICK", 0.0)
    both = frozenset({"a", "b"})
    claims = [None, Claimed("a", both), Claimed("b", both), Claimed("b", frozenset({"b"})), Claimed("a", None)]
    steps: list[object] = []

    for claim in claims:

        async def step(claim: object = claim) -> None:
            steps.append(claim)

        await signals.step_if_first(cast("Any", claim), step)

    assert steps == [None, claims[1], claims[3]]
