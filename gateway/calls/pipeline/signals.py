"""The way of one event: read strictly, verified with its transmitter's keys, checked, and taken by the receiver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.authority.signals.register import SignalRegister
from gateway.authority.signals.set import TYPE, SetFault, check_claims
from gateway.identity import jose
from gateway.identity.outcomes import CredentialFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.signals.receiver import SignalReceiver, SignalStream
    from gateway.identity.jose import Jws
    from gateway.identity.keys import IssuerKeys

_TYPES: Final = frozenset({TYPE})


@dataclass(frozen=True, slots=True)
class VerifiedStream:
    """A stream with the keys of its transmitter. `authorization` is the required header of a push, if there is one.

    `is_pushed`: the transmitter posts its events to the gateway.
    """

    stream: SignalStream
    keys: IssuerKeys
    algorithms: frozenset[str]
    is_pushed: bool
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals in force, and their receiver with its streams; `None`: no identity provider sends any."""

    register: SignalRegister = field(default_factory=SignalRegister)
    receiver: SignalReceiver | None = None
    sources: tuple[VerifiedStream, ...] = ()


async def take_token(
    receiver: SignalReceiver, source: VerifiedStream, token: bytes, clock: Callable[[], float]
) -> SetFault | None:
    """Take the event of a token. Return `None` once it is recorded, else the fault of the token.

    Raises `GatewayError` if the event cannot be verified or recorded now.
    """
    jws = _read_token(source, token)
    if isinstance(jws, SetFault):
        return jws
    keys = await source.keys.find(jws.kid, jws.alg)
    if not any(jose.signed_by(jws, key) for key in keys):
        return SetFault("invalid_key", "the signature is of no key that the transmitter publishes")
    event = check_claims(jws.claims, source.stream.rules, clock())
    return event if isinstance(event, SetFault) else await receiver.take(source.stream, event, jws.signed)


def _read_token(source: VerifiedStream, token: bytes) -> Jws | SetFault:
    """Return a token before its signature is verified, else the fault of its form or its header."""
    if not token.isascii():
        return _MALFORMED
    jws = jose.read_jws(token.decode("ascii"))
    if isinstance(jws, CredentialFault):
        return SetFault("invalid_request", jws.detail)
    if jws.typ not in _TYPES:
        return SetFault("invalid_request", f"the token's typ is not {TYPE}")
    if jws.claims.get("iss") != source.stream.rules.issuer:
        return SetFault("invalid_issuer", "iss is not the transmitter of this stream")
    fault = jose.check_header(jws, source.algorithms, _TYPES)
    return jws if fault is None else SetFault("invalid_request", fault.detail)


_MALFORMED: Final = SetFault("invalid_request", "the body is not one token in compact form")
