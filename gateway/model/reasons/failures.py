"""Reasons of failures (`gateway.model.errors`), by what has failed. Pure data.

The message of an entry is the meaning of its code. A failure has a message and a remedy of its own, with the place.
"""

from __future__ import annotations

from typing import Final

from gateway.model import error_codes as _rpc
from gateway.model.reasons.text import RefusalText

_ON_DISK: Final = "Have the operator look at the log for the file, and at the disk that holds it."

GATEWAY_ERROR: Final = RefusalText(
    "gateway/error", 503, "The gateway failed.", "Have the operator look at the log.", _rpc.UNAVAILABLE
)
CONFIGURATION_INVALID: Final = RefusalText(
    "configuration/invalid",
    503,
    "The configuration has a fault.",
    "Correct the named field, then run `opagate check`.",
    _rpc.UNAVAILABLE,
)
TRACE_INVALID: Final = RefusalText(
    "trace/invalid",
    503,
    "A recorded session cannot be read.",
    "Correct the named line of the file.",
    _rpc.UNAVAILABLE,
)

# --- policy -----------------------------------------------------------------------------------------

POLICY_UNDEFINED: Final = RefusalText(
    "policy/undefined",
    200,
    "The policy has no answer to this call.",
    "Have the policy's author give `gateway.decision.result` a `default`.",
)
POLICY_MALFORMED: Final = RefusalText(
    "policy/malformed",
    200,
    "The policy's answer does not follow the contract.",
    "Have the policy's author run `opagate policy check`.",
)
POLICY_OBLIGATION: Final = RefusalText(
    "policy/obligation",
    200,
    "The policy allows on a condition that this gateway cannot meet.",
    "Have the policy's author remove the obligation.",
)
POLICY_UNAVAILABLE: Final = RefusalText(
    "policy/unavailable",
    200,
    "The policy engine cannot be reached, or failed.",
    "Try again. If it goes on, have the operator look at the engine and the log.",
)
POLICY_LATE: Final = RefusalText(
    "policy/late",
    200,
    "The policy engine answered after its deadline.",
    "Send smaller arguments, or have the operator raise `policy.engine.deadline`.",
)
POLICY_STALE: Final = RefusalText(
    "policy/stale",
    200,
    "The gateway could not load a newer policy, and the operator lets the old one decide no longer.",
    "Have the operator mend the newer policy: `opagate policy check`.",
)
POLICY_INPUT: Final = RefusalText(
    "policy/input",
    200,
    "The call cannot be put to the policy exactly as it is.",
    "Send numbers and texts that JSON can write exactly.",
)
POLICY_BROKEN: Final = RefusalText(
    "policy/broken",
    503,
    "The policy is unfit to be put into force.",
    "Have the policy's author run `opagate policy check`.",
    _rpc.UNAVAILABLE,
)

# --- other programs -----------------------------------------------------------------------------------

IDENTITY_UNAVAILABLE: Final = RefusalText(
    "identity/unavailable",
    503,
    "The key server that the token needs cannot be reached.",
    "Try again shortly. If it goes on, have the operator look at the identity provider.",
    _rpc.UNAVAILABLE,
)
UPSTREAM_UNREACHABLE: Final = RefusalText(
    "upstream/unreachable",
    502,
    "The upstream takes no connection, or its program does not start.",
    "Try again. If it goes on, have the operator look at the upstream.",
    _rpc.UPSTREAM_FAILED,
)
UPSTREAM_TIMEOUT: Final = RefusalText(
    "upstream/timeout",
    504,
    "The upstream did not begin to answer in time.",
    "Look first whether the call had an effect, then try again.",
    _rpc.UPSTREAM_FAILED,
)
UPSTREAM_UNAUTHORIZED: Final = RefusalText(
    "upstream/unauthorized",
    502,
    "The upstream refuses the gateway's credential.",
    "Have the operator look at `credential` of the upstream.",
    _rpc.UPSTREAM_FAILED,
)
UPSTREAM_BROKEN: Final = RefusalText(
    "upstream/broken",
    502,
    "The upstream broke the protocol, or ended.",
    "Look first whether the call had an effect, then try again.",
    _rpc.UPSTREAM_FAILED,
)
CREDENTIAL_ENDED_IN_ANSWER: Final = RefusalText(
    "credential/ended",
    502,
    "The credential of this call ended, so the gateway cut the answer.",
    "Begin a new task if you may.",
    _rpc.UPSTREAM_FAILED,
)

# --- what the gateway keeps ---------------------------------------------------------------------------

HISTORY_UNAVAILABLE: Final = RefusalText(
    "history/unavailable", 503, "The gateway cannot keep the history of the task.", _ON_DISK, _rpc.UNAVAILABLE
)
HISTORY_FULL: Final = RefusalText(
    "history/full",
    503,
    "The gateway has no room for another task.",
    "End tasks that are done, or have the operator raise the limits of `history`.",
    _rpc.UNAVAILABLE,
)
HISTORY_EXPIRED: Final = RefusalText(
    "history/expired", 503, "The gateway no longer keeps this task.", "Open a new task.", _rpc.UNAVAILABLE
)
RECORDS_UNAVAILABLE: Final = RefusalText(
    "records/unavailable", 503, "The gateway cannot keep or read its records on disk.", _ON_DISK, _rpc.UNAVAILABLE
)
CREDENTIAL_OPEN: Final = RefusalText(
    "credential/open",
    503,
    "The gateway has stopped, and the end of some leases is not proven.",
    "Start the gateway again: it ends them first.",
    _rpc.UNAVAILABLE,
)
JOURNAL_UNAVAILABLE: Final = RefusalText(
    "journal/unavailable",
    503,
    "The gateway cannot write or read its journal.",
    "Have the operator look at the disk and run `opagate journal verify`.",
    _rpc.UNAVAILABLE,
)
