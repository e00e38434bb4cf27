"""Keeps credentials of one system from another, where policy alone could not see them.

Policy decides on the arguments of a call, with the credentials that the call's own task was shown. Two other places are here:
outside the arguments (`examine_outside_arguments`), and the other tasks of the same caller (`add_other_tasks`).
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from msgspec import structs

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json.walk import Leaves
from gateway.inspection.credentials import origins
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.index import CredentialIndex, RecentIndexes
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.model import reasons
from gateway.model.call import Call
from gateway.model.content import CallContent, CredentialPiece, ResultContent
from gateway.model.decision import Refusal
from gateway.model.task import Task
from gateway.model.wire import UpstreamRequest
from gateway.wire.protocol.classify import state_of, tasks_of

_UNSEARCHED: Final = reasons.CREDENTIAL_CHAIN_INCOMPLETE.refusal()


FOREIGN: Final = reasons.CREDENTIAL_CHAIN_OUTSIDE.refusal()


class CredentialChain:
    """Guard of credentials between systems. `origins` has the systems that showed a credential to a task."""

    def __init__(self, origins: KnownOrigins, detector: Detector, worker: WorkerThread) -> None:
        self.origins = origins
        self._detector = detector
        self._worker = worker
        self._indexes = RecentIndexes()

    def index(self, task: Task, seen: Mapping[str, frozenset[int]]) -> CredentialIndex | None:
        """Return the index of the credentials that a task has seen (`TaskLedger.seen`); `None` for none."""
        if isinstance(seen, ChainMap):
            # An earlier task may be shown more, or be forgotten, while this one goes on: no index of it stays right.
            return CredentialIndex(seen)
        return self._indexes.of(task.id, seen)

    async def examine_outside_arguments(
        self, request: UpstreamRequest, audience: str, *, trace: bytes | None = None
    ) -> Refusal | tuple[CredentialPiece, ...]:
        """Refuse a request to the system `audience` with a credential of another system outside its arguments; else return
        the pieces of such credentials there.

        `trace` is the `traceparent` that goes on. For a caller whose tasks were shown no credential, as is
        usual, this costs one look-up.
        """
        shown = self.origins.of(request.principal.key)
        if shown is None:
            return ()
        look = partial(origins.examine_message, _describe_sent(request, trace), shown, audience, self._detector)
        found = await self._worker.run(_size(request), look)
        if isinstance(found, tuple):
            return found
        return FOREIGN if found == "foreign" else _UNSEARCHED

    async def add_other_tasks(
        self, owner: str, task: Task, call: Call, content: CallContent, *, walked: Leaves, size: int
    ) -> CallContent:
        """Return the content of a call, completed by the credentials that other tasks of the caller were shown.

        `owner` is the caller's `Principal.key`, `walked` are the leaves of the arguments, and `size` the bytes of its message. For a caller whose other tasks were shown no
        credential this costs one look-up.
        """
        shown = self.origins.of(owner)
        if shown is None or not origins.may_lack_credentials(shown, task.id, call.target.audience):
            return content
        return await self._worker.run(
            size, partial(origins.complete_content, content, call, shown, task.id, self._detector, walked=walked)
        )

    async def mark_repeated(self, request: UpstreamRequest, content: ResultContent) -> ResultContent:
        """Mark the credentials of a result `ordinary` where they only repeat the request. Otherwise a system could
        claim a text that its caller sends everywhere, such as a user agent, as its own credential. All other systems
        would then refuse that caller."""
        if not content.sightings:
            return content
        look = partial(origins.find_repeated, content.sightings, _describe_sent(request), self._detector)
        repeated = await self._worker.run(_size(request), look)
        if not repeated:
            return content
        sightings = (
            replace(item, ordinary=True) if item.fingerprint in repeated else item for item in content.sightings
        )
        return structs.replace(content, sightings=tuple(sightings))


def _size(request: UpstreamRequest) -> int:
    """Return the bytes of all sent parts."""
    headers = sum(len(name) + len(value) for name, value in request.sent_headers)
    return headers + (len(request.message.body) if request.message is not None else 0)


def _describe_sent(request: UpstreamRequest, trace: bytes | None = None) -> origins.Sent:
    """Return the sent parts. The handles in the message were checked to be the upstream's, given to this caller."""
    message = request.message
    given = frozenset(() if trace is None else (trace.decode(),))
    if message is None:
        return origins.Sent(request.sent_headers, given=given)
    state = state_of(message)
    handles = tasks_of(message) if state is None else tasks_of(message) | {state}
    return origins.Sent(request.sent_headers, message, handles | given)
