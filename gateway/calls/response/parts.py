"""The parts of the gateway for answers to callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gateway.base.concurrency.loop_turns import LoopTurns
    from gateway.base.concurrency.worker_thread import WorkerThread
    from gateway.calls.binding.ownership import Ownership
    from gateway.calls.binding.sessionless_exchanges import SessionlessExchanges
    from gateway.calls.binding.sessions import Sessions
    from gateway.calls.binding.vault import Vault
    from gateway.calls.pipeline.credential_chain import CredentialChain
    from gateway.calls.pipeline.prepare import CurrentTasks
    from gateway.calls.pipeline.visibility import Visibility
    from gateway.calls.response.completion_notices import CompletionNotices
    from gateway.history import TaskLedger
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.inspection.inspector import Inspector
    from gateway.record.journal.writer import Journal
    from gateway.record.telemetry.metrics import Metrics
    from gateway.upstreams.catalogue.catalogue import Catalogue


class AnswerParts(Struct, frozen=True):
    """The parts that answers need, whether policy decided on their requests or not. `unanswered` has the calls of sessions: their
    answers may come on another stream. `notices` is `None` if no call waits for people or for its user."""

    visibility: Visibility
    catalogue: Catalogue
    tasks: CurrentTasks
    ledger: TaskLedger
    inspector: Inspector
    credential_chain: CredentialChain
    live: LiveValues
    vault: Vault
    sessions: Sessions
    ownership: Ownership
    unanswered: Ownership
    sessionless_exchanges: SessionlessExchanges
    notices: CompletionNotices | None
    journal: Journal
    metrics: Metrics
    worker: WorkerThread
    turns: LoopTurns
    clock: Callable[[], float]
    monotonic: Callable[[], float]
