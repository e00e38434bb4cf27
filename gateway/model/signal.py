"""Facts about a caller from an identity provider (CAEP 1.0). A fact is open until a later signal, or a new login."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from msgspec import Struct

SignalType: TypeAlias = Literal[
    "session-revoked",
    "credential-change",
    "token-claims-change",
    "device-compliance-change",
    "assurance-level-change",
    "risk-level-change",
]
SIGNAL_TYPES: Final[tuple[SignalType, ...]] = get_args(SignalType)


class SignalFact(Struct, frozen=True):
    """An open fact about the user, the session or the agent of a call. `at` is the time of the event in seconds since the epoch.

    `level` is the present level of risk or assurance, the status of the device, or the change of the credential, in lower case.
    """

    type: SignalType
    at: float
    level: str | None = None
