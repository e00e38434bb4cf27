"""Circumstances of one request, passed to each stage of the pipeline."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from gateway.model.call import Context, SignalFact
from gateway.model.task import Task
from gateway.model.wire import Message
from gateway.record.telemetry.tracing import TraceContext
from gateway.wire.http.exchange import Exchange

SUPPORTED_OBLIGATIONS: Final = ("conceal_credentials", "issue_credential", "label", "limit")
"""The obligations that this gateway carries out. Any other makes an `allow` a refusal."""


class RequestContext(Struct, frozen=True):
    """Circumstances of one request. `id` becomes the decision id. `arrived` is in seconds since the epoch, `began` the
    same moment on the monotonic clock. `upstream` is the name of a configured upstream: logs and traces do not repeat
    an unknown name from the path.
    `takes_pins`: a list comes from the lock file, since the upstream is too slow."""

    id: str
    exchange: Exchange
    arrived: float
    began: float
    trace: TraceContext
    upstream: str | None = None
    takes_pins: bool = False

    def describe(
        self, message: Message | None, task: Task, signals: tuple[SignalFact, ...], *, enforced: bool
    ) -> Context:
        """Return the circumstances of a question to policy about lists."""
        return Context(
            time=self.arrived,
            trace_id=self.trace.trace_id,
            client_ip=self.exchange.client_ip,
            client_name=message.client_name if message else None,
            task=task,
            supported_obligations=SUPPORTED_OBLIGATIONS,
            signals=signals,
            enforced=enforced,
        )
