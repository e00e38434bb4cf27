"""Codes of the policy's own reasons that the gateway names. Their texts stand in the rules. Pure data."""

from __future__ import annotations

from typing import Final

APPROVAL_EFFECT: Final = "approval/effect"
APPROVAL_GRANT: Final = "approval/grant"
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
