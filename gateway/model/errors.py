"""Failures outside of the gateway. Refusals are values (`model.decision.Refusal`), not exceptions.

    GatewayError                 a message for people, a remedy, and the reason code that it is recorded with
    ├── ConfigurationError       what is wrong in which file, at which field
    ├── PolicyError
    │   ├── PolicyUnavailable    the engine cannot be reached or did not answer        policy/unavailable
    │   ├── PolicyLate           an answer after its deadline                        policy/late
    │   ├── PolicyUndefined      no answer                                      policy/undefined
    │   ├── PolicyMalformed      its answer does not follow the contract               policy/malformed
    │   ├── PolicyStale          a policy older than allowed                            policy/stale
    │   ├── PolicyInput          a call without an exact form in the input      policy/input
    │   └── PolicyBroken         a policy unfit to be put into force (load time)    policy/broken
    ├── IdentityUnavailable      a needed key server cannot be reached         identity/unavailable
    ├── UpstreamError
    │   ├── UpstreamUnreachable  no connection, or no child process                    upstream/unreachable
    │   ├── UpstreamTimeout      no first byte in time                                 upstream/timeout
    │   ├── UpstreamUnauthorized refuses the gateway's credential            upstream/unauthorized
    │   └── UpstreamBroken       broke the protocol, or died                         upstream/broken
    ├── HistoryError             a task cannot be kept                                 history/unavailable
    │   ├── HistoryFull          no room for another task                              history/full
    │   └── TaskExpired          the task is no longer kept                            history/expired
    ├── StoreError               a record was not kept                                 records/unavailable
    │   └── OutcomeUnknown       a record may have been kept: read it again            records/unavailable
    ├── LeasesLeftOpen           the end of some leases is not proven at the stop      credential/open
    └── JournalError             the record cannot be written or read                  journal/unavailable

`pipeline` turns failures during a call into refusals, at a single place.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.model import reasons


class GatewayError(Exception):
    """A failure with its `message` (the event and its place, in one sentence) and a `remedy`. Neither ever holds a
    secret."""

    code: ClassVar[str] = reasons.GATEWAY_ERROR.code

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class ConfigurationError(GatewayError):
    code = reasons.CONFIGURATION_INVALID.code


class PolicyError(GatewayError):
    code = reasons.POLICY_UNAVAILABLE.code


class PolicyUnavailable(PolicyError):
    code = reasons.POLICY_UNAVAILABLE.code


class PolicyLate(PolicyError):
    code = reasons.POLICY_LATE.code

    @classmethod
    def after(cls, took: float, deadline: float) -> PolicyLate:
        """Return the failure of an evaluation in this process. `took` and `deadline` are seconds of processor time."""
        return cls(
            f"the policy took {took * 1000:.0f} ms of processor time, longer than its {deadline * 1000:.0f} ms",
            "simplify the rules, send smaller arguments, or raise policy.engine.deadline",
        )


class PolicyUndefined(PolicyError):
    code = reasons.POLICY_UNDEFINED.code


class PolicyMalformed(PolicyError):
    code = reasons.POLICY_MALFORMED.code


class PolicyStale(PolicyError):
    code = reasons.POLICY_STALE.code


class PolicyInput(PolicyError):
    code = reasons.POLICY_INPUT.code


class PolicyBroken(PolicyError):
    code = reasons.POLICY_BROKEN.code


class IdentityUnavailable(GatewayError):
    code = reasons.IDENTITY_UNAVAILABLE.code


class UpstreamError(GatewayError):
    code = reasons.UPSTREAM_BROKEN.code


class UpstreamUnreachable(UpstreamError):
    code = reasons.UPSTREAM_UNREACHABLE.code


class UpstreamStarting(UpstreamError):
    """An upstream that has not listed its tools yet."""

    code = reasons.UPSTREAM_STARTING.code


class UpstreamTimeout(UpstreamError):
    code = reasons.UPSTREAM_TIMEOUT.code


class UpstreamUnauthorized(UpstreamError):
    """A rejected credential. `is_unknown`: the upstream answered 401, and not 403."""

    code = reasons.UPSTREAM_UNAUTHORIZED.code

    def __init__(self, message: str, remedy: str = "", *, is_unknown: bool = True) -> None:
        super().__init__(message, remedy)
        self.is_unknown = is_unknown


class CredentialEnded(UpstreamError):
    """A cut answer: its credential ended."""

    code = reasons.CREDENTIAL_ENDED_IN_ANSWER.code


class CallStopped(CredentialEnded):
    """A cut answer: an operator has stopped the call."""

    code = reasons.STOP_IN_FORCE.code


class UpstreamBroken(UpstreamError):
    code = reasons.UPSTREAM_BROKEN.code


class HistoryError(GatewayError):
    code = reasons.HISTORY_UNAVAILABLE.code


class HistoryFull(HistoryError):
    code = reasons.HISTORY_FULL.code


class TaskExpired(HistoryError):
    code = reasons.HISTORY_EXPIRED.code


class StoreError(GatewayError):
    """Records that cannot be read or written. A failed change has changed nothing."""

    code = reasons.RECORDS_UNAVAILABLE.code


class OutcomeUnknown(StoreError):
    """A change whose commit got no answer. A read through the same engine tells whether it was carried out."""


class LeasesLeftOpen(GatewayError):
    """The gateway has stopped, and the end of some leases is not proven."""

    code = reasons.CREDENTIAL_OPEN.code


class JournalError(GatewayError):
    code = reasons.JOURNAL_UNAVAILABLE.code
