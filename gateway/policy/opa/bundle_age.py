"""The age of OPA's bundles, from OPA's own reports. Pure. OPA goes on serving the last bundle if it cannot fetch
another. It also does so if it cannot activate a fetched bundle, and then reports a successful request. So a bundle is
known to be the newest after a further successful request without a problem. OPA's reported time shows a further
request, whatever its clock. The gateway measures ages on its own monotonic clock. From OPA's clock, it uses only
differences between OPA's own requests."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from gateway.model.errors import PolicyMalformed, PolicyUnavailable

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
"""How OPA writes the time of what has not happened."""


class BundleState(msgspec.Struct, frozen=True):
    """One bundle in OPA's report."""

    last_request: _Time
    last_successful_request: _Time
    last_successful_download: _Time
    last_successful_activation: _Time
    code: str = ""
    """What was wrong at the last request."""

    @property
    def age(self) -> float:
        """For how many seconds, by OPA's clock, it may have been kept out when OPA last asked for it."""
        unusable = self.last_successful_request == self.last_request
        inactive = self.code and (unusable or self.last_successful_download > self.last_successful_activation)
        known = self.last_successful_activation if inactive else self.last_successful_request
        age = (self.last_request - known).total_seconds()
        return math.inf if known == _NEVER or age < 0 else age


class OpaLabels(msgspec.Struct, frozen=True):
    id: str
    """Another one at each start of OPA."""


class Report(msgspec.Struct, frozen=True):
    """OPA's report on its fetched bundles."""

    labels: OpaLabels
    bundles: dict[str, BundleState] = {}


class _StatusAnswer(msgspec.Struct):
    result: Report


def read_report(answer: bytes) -> Report:
    """Return the report in OPA's answer to `GET /v1/status`. Raises `PolicyMalformed`."""
    try:
        return msgspec.json.decode(answer, type=_StatusAnswer).result
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PolicyMalformed("OPA's report on its bundles cannot be read", "use OPA 1.20.2 or newer") from None


class BundleAges:
    def __init__(self) -> None:
        self._opa = ""
        self._seen: dict[str, tuple[datetime, float]] = {}

    def oldest(self, report: Report, held: frozenset[str], now: float) -> tuple[float, str]:
        """Return the name of the longest unconfirmed bundle, and the time when it was last known to be the newest.
        `held` are the bundles in force. Raises `PolicyUnavailable` for a bundle without a report, or without bundles.
        """
        missing = sorted(held - report.bundles.keys())
        if missing or not report.bundles:
            what = f"its bundle {missing[0]!r}" if missing else "its policy"
            raise PolicyUnavailable(
                f"OPA does not report how old {what} is: it does so of bundles that it fetches from a service",
                "have OPA fetch it (`services` and `bundles` in its configuration), or leave policy.stale_after out",
            )
        before = self._seen if report.labels.id == self._opa else {}
        self._opa = report.labels.id
        self._seen = {
            name: (state.last_successful_request, _since(before.get(name), state, now))
            for name, state in report.bundles.items()
        }
        return min((since, name) for name, (_, since) in self._seen.items())


def _since(before: tuple[datetime, float] | None, state: BundleState, now: float) -> float:
    request, since = before or (None, -math.inf)
    return since if state.last_successful_request == request else max(since, now - state.age)
