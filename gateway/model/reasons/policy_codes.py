"""Codes of the policy's own reasons that the gateway names. Their texts stand in the rules. Pure data."""

from __future__ import annotations

from typing import Final

APPROVAL_EFFECT: Final = "approval/effect"
APPROVAL_GRANT: Final = "approval/grant"
ARGUMENTS_UNCOVERED: Final = "tool/arguments"
BUDGET_CALLS: Final = "budget/calls"
BUDGET_DENIALS: Final = "budget/denials"
CREDENTIAL_PRESENTED: Final = "credential-chain/presentation"
EXFILTRATION: Final = "toxic-flow/exfiltration"
FAN_OUT_AUDIENCES: Final = "fan-out/audiences"
FAN_OUT_BURST: Final = "fan-out/burst"
FAN_OUT_DEPTH: Final = "fan-out/depth"
FAN_OUT_DESTINATIONS: Final = "fan-out/destinations"
FAN_OUT_ENVIRONMENTS: Final = "fan-out/environments"
FAN_OUT_SPREAD: Final = "fan-out/spread"
FAN_OUT_TENANTS: Final = "fan-out/tenants"
FAN_OUT_UNNAMED: Final = "fan-out/unnamed-system"
FAN_OUT_WRITES: Final = "fan-out/writes"
NOT_GRANTED: Final = "tool/not-granted"
UNGROUNDED: Final = "toxic-flow/ungrounded"
EFFECT_REPEATED: Final = "effect/repeated"

# --- observe mode ----------------------------------------------------------------------------------------

FLOWS: Final = frozenset({EXFILTRATION, "toxic-flow/incomplete"})
"""Codes about confidential data that leaves. They stand in observe mode if the data is of a system that is enforced."""

ALWAYS_ENFORCED: Final = frozenset(
    {
        # Nobody knows who calls, or in which task.
        "delegation/depth",
        "delegation/incomplete",
        "delegation/issuer-missing",
        "delegation/user-missing",
        "identity/incomplete",
        "identity/task-expired",
        "identity/task-missing",
        "signal/adverse",
        # The message is malformed, or policy cannot judge it.
        "argument/malformed",
        "policy/undefined",
        "policy/version",
        "tool/incomplete",
        # The definition is not the pinned one.
        "catalogue/changed",
        "catalogue/unknown",
        "catalogue/unpinned",
        "catalogue/unverified",
        # The call carries a known credential of another system, or one that the gateway lent.
        "credential-chain/incomplete",
        "credential-chain/lineage",
        "credential-chain/one-time-code",
        CREDENTIAL_PRESENTED,
        # No credential can be lent to the call.
        "credential/no-user",
        "credential/task-ends",
        "credential/unended",
        # The author of the labels wants the effect once.
        EFFECT_REPEATED,
    }
)
"""Codes for which policy refuses in observe mode too. Every other code passes there, also those of an overlay."""
