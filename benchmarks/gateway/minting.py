"""The cost of the gateway's own tokens: signing one for a call, its place in the register, and the upstream's verification.

Process time, in batches on one core: the least of the batches, since other programs only ever add to it. It takes some five seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from joserfc.jwk import ECKey

from gateway.authority.introspection import ActiveTokens, IntrospectingUpstream, Introspector, digest_secret
from gateway.authority.minting import Mint, MintedToken, bind_call
from gateway.authority.model import LeaseRequest, Scope
from gateway.base.keys import signing_keys
from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.model.caller import Actor, AuthMethod, Principal, User
from opagate.verify import Caller, Verifier

MOST_MICROSECONDS: Final = 60.0
"""For a call with a token of its own: digest, signature, and register."""
OPEN: Final = 10_000
"""Other active tokens."""
ISSUER: Final = "https://gateway.example"
IDP: Final = "https://idp.example"
AUDIENCE: Final = "https://mail.example"
ARGUMENTS: Final = {
    "to": ["ann@corp.example", "bob@corp.example"],
    "subject": "Hello",
    "body": "x" * 400,
    "priority": 3,
}
PARAMS: Final[dict[str, Any]] = {"name": "send_message", "arguments": ARGUMENTS}
PRINCIPAL: Final = Principal("agent", IDP, AuthMethod.JWT, user=User("ann"), delegation=(Actor("agent", IDP),))
BODY: Final = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": PARAMS}).encode()
HEAD: Final = f"""\
## What a token of a call costs

CPU on one core, beside {OPEN:,} active tokens, for a call with 400 characters of arguments.

| what | goal | µs |
|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of CPU."""

    mint: float
    introspect: float
    verify: float

    def table(self) -> str:
        """Return the figures as Markdown."""
        rows = (
            ("gateway: digest, signature and register", f"≤ {MOST_MICROSECONDS:.0f}", self.mint),
            ("gateway: answer to introspection", "", self.introspect),
            ("upstream: all checks of `opagate.verify`, offline", "", self.verify),
        )
        return "\n".join([HEAD, *(f"| {what} | {goal} | {found:.1f} |" for what, goal, found in rows)])

    def is_within_goals(self) -> bool:
        return self.mint <= MOST_MICROSECONDS


def minting(*, calls: int = 1_000, batches: int = 7) -> Costs:
    """Measure all figures."""
    mint = Mint(KeyRing(SigningKey(signing_keys.derive(ECKey.generate_key("P-256"), "access tokens"))), ISSUER)
    register = ActiveTokens()
    for number in range(OPEN):
        register.add(_token(mint, f"open-{number}"), 1000)

    def mint_one(number: int) -> None:
        register.add(_token(mint, f"call-{number}"), 1000)
        register.end(f"call-{number}")

    shown = _token(mint, "shown")
    register.add(shown, 1000)
    client = IntrospectingUpstream("mail", digest_secret("s" * 32), frozenset({AUDIENCE}))
    introspector = Introspector([client], register)
    return Costs(
        _least(mint_one, calls, batches),
        _least(lambda _number: introspector.introspect(client, shown.value, 1000), calls, batches),
        _verification(mint, calls, batches),
    )


def _token(mint: Mint, jti: str) -> MintedToken:
    request = LeaseRequest("lease", "task", PRINCIPAL, "mail", AUDIENCE, Scope(("mail:send",)), 1000, 1060)
    binding = bind_call("tools/call", PARAMS, decision=jti, policy="shipped@1")
    token = mint.mint_call(request, binding, jti=jti, now=1000)
    assert isinstance(token, MintedToken)
    return token


def _verification(mint: Mint, calls: int, batches: int) -> float:
    verifier = Verifier(ISSUER, AUDIENCE, jwks=mint.jwks(), clock=lambda: 1000.0)
    tokens = iter([_token(mint, f"verified-{number}").value for number in range(calls * batches)])

    async def verify() -> None:
        assert isinstance(await verifier.verify(next(tokens), BODY), Caller)

    with asyncio.Runner() as runner:

        async def batch() -> None:
            for _ in range(calls):
                await verify()

        return _least(lambda _number: runner.run(batch()), 1, batches) / calls


def _least(work: Callable[[int], object], calls: int, batches: int) -> float:
    """Return microseconds of a call in the fastest batch."""
    found: list[float] = []
    for batch in range(batches):
        begun = time.process_time()
        for number in range(calls):
            work(batch * calls + number)
        found.append((time.process_time() - begun) / calls * 1e6)
    return min(found)
