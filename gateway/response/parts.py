"""The parts of the gateway for answers to callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gateway.binding.ownership import Ownership
    from gateway.binding.sessionless_exchanges import SessionlessExchanges
    from gateway.binding.sessions import Sessions
    from gateway.binding.vault import Vault
    from gateway.catalogue.catalogue import Catalogue
    from gateway.credentials.live_values import LiveValues
    from gateway.history import TaskLedger
    from gateway.inspection.inspector import Inspector
    from gateway.journal.writer import Journal
    from gateway.loop_turns import LoopTurns
    from gateway.pipeline.credential_chain import CredentialChain
    from gateway.pipeline.prepare import CurrentTasks
    from gateway.pipeline.visibility import Visibility
    from gateway.response.completion_notices import CompletionNotices
    from gateway.telemetry.metrics import Metrics
    from gateway.worker_thread import WorkerThread


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
