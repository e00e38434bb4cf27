"""Keeps a credential that one system has shown from reaching another, where policy alone could not see it.

Policy decides on the arguments of a call with what the call's own task was shown. Here are the two other places: what is
sent outside the arguments (`refusal`), and what other tasks of the same caller were shown (`with_other_tasks`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from msgspec import structs

from gateway.inspection import outside_arguments
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.origins import Origins, Shown
from gateway.model.call import Call
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.decision import Reason, Refusal
from gateway.model.task import Task
from gateway.model.wire import UpstreamRequest
from gateway.protocol.classify import state_of, tasks_of
from gateway.protocol.error_codes import REFUSED
from gateway.worker_thread import WorkerThread

OUTSIDE: Final = Reason(
    "credential-chain/outside-arguments",
    "A credential that another system answered with stands outside the arguments of a call.",
    "Leave it out. If the task needs to carry it, carry it in an argument, where policy can decide on it.",
    controls=("ASI03", "NHI2", "MCP01"),
)
UNSEARCHED: Final = Reason(
    "credential-chain/incomplete",
    "The message is too large to be searched for the credentials that this caller has been shown.",
    "Send less beside the arguments of a call, or answer with less.",
    controls=("ASI03", "NHI2", "MCP01"),
)


class CredentialChain:
    """Knows by `origins` which systems have shown credentials to which tasks."""

    def __init__(self, origins: Origins, detector: Detector, worker: WorkerThread) -> None:
        self.origins = origins
        self._detector = detector
        self._worker = worker

    async def refusal(self, request: UpstreamRequest, audience: str) -> Refusal | None:
        """Why a request must not be sent to the system `audience`: a credential of another system stands outside its arguments. `None` if it may.

        For a caller whose tasks were shown no credential, as is usual, this costs one look-up.
        """
        shown = self.origins.of(request.principal.key)
        if shown is None:
            return None
        look = partial(outside_arguments.problem, _sent(request), shown, audience, self._detector)
        problem = await self._worker.run(_size(request), look)
        if problem is None:
            return None
        return Refusal(400, OUTSIDE if problem == "foreign" else UNSEARCHED, REFUSED)

    async def with_other_tasks(
        self, owner: str, task: Task, call: Call, content: CallContent, *, size: int
    ) -> CallContent:
        """The content of a call, completed by the credentials that other tasks of the caller were shown.

        A caller may open as many tasks as it likes: if each knew only of its own credentials, a new task would know of none.
        `owner` is the caller's `Principal.key`, `size` the bytes of its message. For a caller whose other tasks were shown no
        credential this costs one look-up.
        """
        shown = self.origins.of(owner)
        if shown is None:
            return content
        if shown.unsure(task.id) and any(_is_nowhere(item, shown) for item in content.sightings):
            content = structs.replace(content, complete=False)
        if not shown.beside(task.id):
            return content
        audience = call.target.audience
        detector, roles = self._detector, call.target.labels.roles
        found = await self._worker.run(size, partial(detector.inspect, call.arguments, roles, shown.index, new=False))
        known = {item.fingerprint for item in content.sightings}
        more = [_sighting(item) for item in found.findings if item.fingerprint not in known]
        sightings = (
            replace(item, shown_by=shown.of_another(audience, item.fingerprint)) for item in (*content.sightings, *more)
        )
        kept = tuple(item for item in sightings if item.fingerprint in known or item.shown_by is not None)
        return structs.replace(content, sightings=kept, complete=content.complete and not found.incomplete)

    async def with_repeated_marked(self, request: UpstreamRequest, content: ResultContent) -> ResultContent:
        """The content of a result, with those credentials marked `ordinary` that only repeat what the request said.

        Otherwise a system could claim what its caller sends to everybody, such as a user agent, as a credential of its own, and
        so keep the caller from all other systems.
        """
        if not content.sightings:
            return content
        look = partial(outside_arguments.repeated, content.sightings, _sent(request), self._detector)
        repeated = await self._worker.run(_size(request), look)
        if not repeated:
            return content
        sightings = (
            replace(item, ordinary=True) if item.fingerprint in repeated else item for item in content.sightings
        )
        return structs.replace(content, sightings=tuple(sightings))


def _is_nowhere(item: Sighting, shown: Shown) -> bool:
    """Whether no system is known to have shown a credential. What a goal repeats may be one that was not kept."""
    return item.handle is None and item.fingerprint not in shown.systems


def _sighting(found: Finding) -> Sighting:
    return Sighting(found.fingerprint, found.detector, found.pointer, found.role, found.form)


def _size(request: UpstreamRequest) -> int:
    """Bytes of all that is sent."""
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return headers + (len(request.message.body) if request.message is not None else 0)


def _sent(request: UpstreamRequest) -> outside_arguments.Sent:
    """The handles that the message names were checked to be the upstream's, given to this caller."""
    message = request.message
    if message is None:
        return outside_arguments.Sent(request.headers)
    state = state_of(message)
    handles = tasks_of(message) if state is None else tasks_of(message) | {state}
    return outside_arguments.Sent(request.headers, message, handles)
