"""The systems that showed credentials to the tasks of a job, and the search for these credentials in a call. Pure.

A caller may open as many tasks as it likes, and agents of one user hand text to each other. If each task knew only of its own
credentials, a new task would know of none.

Policy sees the arguments of a call, and may let a credential pass there; no role and no contract speaks for any other
place. So a credential that one system has shown may go back to that system there, and to no other. A credential that no
system has shown is the client's own affair: it may be what the client authenticates to the upstream with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, cast

import msgspec
from msgspec import structs

from gateway.base.json.walk import Leaves, flatten, leaves
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.ordinary import has_uncommon
from gateway.model.call import Call
from gateway.model.content import CallContent, CredentialPiece, Sighting
from gateway.model.shingles import grams_of, mark_named, mark_of, name_of
from gateway.model.wire import Headers, Json, JsonObject, Kind, Message
from gateway.wire.protocol import methods
from gateway.wire.protocol.headers import NAME, PARAM_PREFIX, decode, read_parent
from gateway.wire.protocol.methods import TABLE

MAX_OF_JOB: Final = 4_096
MAX_OF_ALL: Final = 32_768
"""Credentials that are kept: some 150 MB, or 250 MB if all of them are long."""
MAX_MARKS_OF_JOB: Final = 16_384
MAX_MARKS_OF_ALL: Final = 262_144
"""Credentials of which the marks are kept: some 100 MB."""
FEWEST: Final = 5
"""Shingles below which a credential is looked for as a whole word: fewer than ten letters may be chance."""


@dataclass(slots=True)
class ShownToJob:
    """The known credentials of one job's tasks."""

    index: CredentialIndex = field(default_factory=lambda: CredentialIndex({}))
    systems: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Credential → audience that has shown it → tasks."""
    tasks: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Task → credential → audience."""
    lost: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Task → audiences that have shown it credentials which are not kept."""
    marks: int = 0
    """How many of the credentials are known by their marks alone."""

    def may_go_to(self, audience: str, fingerprint: str) -> bool:
        """Return whether nothing says that the credential is another system's: this system has shown it, or none has."""
        systems = self.systems.get(fingerprint)
        return systems is None or audience in systems

    def is_beside(self, task: str) -> bool:
        """Return whether other tasks of the job have seen credentials unknown to this task."""
        return len(self.systems) > len(self.tasks.get(task, ()))

    def has_lost_beside(self, audience: str) -> bool:
        """Return whether a system besides `audience` has shown credentials that are not kept."""
        return any(systems != {audience} for systems in self.lost.values())

    def name(self, fingerprint: str, shingles: Collection[int]) -> str:
        """Return the name by which a credential is known here: its own, or that of its mark."""
        mark = mark_of(shingles)
        marked = fingerprint if mark is None else name_of(mark)
        return marked if marked in self.systems and fingerprint not in self.systems else fingerprint

    def of_another(self, audience: str, fingerprint: str) -> str | None:
        """Return another system as source of the credential, or `None` if this system has also shown it."""
        systems = self.systems.get(fingerprint, {})
        return None if audience in systems else min(systems, default=None)


@dataclass(frozen=True, slots=True)
class CredentialLimits:
    """The numbers of credentials that are kept whole, and by their marks: of one job, and of all."""

    of_job: int = MAX_OF_JOB
    of_all: int = MAX_OF_ALL
    marks_of_job: int = MAX_MARKS_OF_JOB
    marks_of_all: int = MAX_MARKS_OF_ALL


class KnownOrigins:
    """Takes in what history tells (see its `OriginListener`), job by job. No job takes more than is left for others."""

    def __init__(self, limits: CredentialLimits | None = None) -> None:
        self._jobs: dict[str, ShownToJob] = {}
        self.of: Final[Callable[[str], ShownToJob | None]] = self._jobs.get
        """Returns what was shown to the tasks of a job; `None` for nothing, as is usual. Each call asks several times."""
        self._limits = limits or CredentialLimits()
        self._whole = 0
        self._marks = 0

    def __len__(self) -> int:
        return self._whole + self._marks

    def note(self, job: str, task: str, audience: str, fingerprint: str, shingles: Collection[int]) -> str | None:
        """Keep a credential and the system of its origin for a task. Return its name here, `None` without room."""
        shown = self._jobs.setdefault(job, ShownToJob())
        of_task = shown.tasks.setdefault(task, {})
        name = self._name(shown, fingerprint, shingles)
        if name is None:
            shown.lost.setdefault(task, set()).add(audience)
            return None
        if name in of_task:
            return name
        if name not in shown.systems:
            shown.systems[name] = {}
            shown.index.add(name, _sample(shingles) if name == fingerprint else ())
            self._count(shown, name, 1)
        of_task[name] = audience
        systems = shown.systems[name]
        systems[audience] = systems.get(audience, 0) + 1
        return name

    def note_lost(self, job: str, task: str, audience: str) -> None:
        """Note that `audience` has shown the task credentials whose values history does not keep."""
        shown = self._jobs.setdefault(job, ShownToJob())
        shown.tasks.setdefault(task, {})
        shown.lost.setdefault(task, set()).add(audience)

    def drop(self, job: str, task: str) -> None:
        """Forget what a task was shown."""
        shown = self._jobs.get(job)
        if shown is None:
            return
        for name, audience in shown.tasks.pop(task, {}).items():
            self._forget(shown, name, audience)
        shown.lost.pop(task, None)
        if not shown.tasks:
            del self._jobs[job]

    def _name(self, shown: ShownToJob, fingerprint: str, shingles: Collection[int]) -> str | None:
        """Return the name under which a credential is kept, or can be; `None` if there is no room for it."""
        name = shown.name(fingerprint, shingles)
        if name in shown.systems:
            return name
        mark = mark_of(shingles)
        marked = fingerprint if mark is None else name_of(mark)
        limits = self._limits
        whole = len(shown.systems) - shown.marks
        if mark_named(fingerprint) is None and whole < min(limits.of_job, limits.of_all - self._whole):
            return fingerprint
        room = min(limits.marks_of_job, limits.marks_of_all - self._marks)
        return marked if mark_named(marked) is not None and shown.marks < room else None

    def _count(self, shown: ShownToJob, name: str, more: int) -> None:
        if mark_named(name) is None:
            self._whole += more
        else:
            self._marks += more
            shown.marks += more

    def _forget(self, shown: ShownToJob, name: str, audience: str) -> None:
        systems = shown.systems[name]
        systems[audience] -= 1
        if not systems[audience]:
            del systems[audience]
        if not systems:
            del shown.systems[name]
            shown.index.remove(name)
            self._count(shown, name, -1)


def _sample(shingles: Collection[int]) -> Collection[int]:
    return () if len(grams_of(shingles)) < FEWEST else shingles


# --- credentials that other tasks were shown ---------------------------------------------------------


def may_lack_credentials(shown: ShownToJob, task: str, audience: str) -> bool:
    """Return whether the content of a call of this task to this system may have to be completed."""
    return shown.is_beside(task) or shown.has_lost_beside(audience)


def complete_content(
    content: CallContent, call: Call, shown: ShownToJob, task: str, detector: Detector, *, walked: Leaves
) -> CallContent:
    """Return the content with the credentials that another system has shown to other tasks, in whatever form. Where
    such a system has shown more than is kept, a call with an uncommon word is `unsure`. `walked` are the leaves of its arguments."""
    audience = call.target.audience
    if shown.has_lost_beside(audience) and _may_hold_lost(content, walked, shown):
        content = structs.replace(content, unsure=True)
    if not shown.is_beside(task):
        return content
    found = detector.inspect_leaves(walked, call.target.labels.roles, shown.index, new=False)
    here = [replace(item, fingerprint=shown.name(item.fingerprint, item.shingles)) for item in content.sightings]
    known = {item.fingerprint for item in here}
    more = [_sighting(item) for item in found.findings if item.fingerprint not in known]
    sightings = (replace(item, shown_by=shown.of_another(audience, item.fingerprint)) for item in (*here, *more))
    kept = tuple(item for item in sightings if item.fingerprint in known or item.shown_by is not None)
    theirs = (piece._replace(shown_by=shown.of_another(audience, piece.fingerprint)) for piece in found.pieces)
    pieces = (*content.pieces, *(piece for piece in theirs if piece.shown_by is not None))
    whole = content.complete and not found.incomplete
    return structs.replace(content, sightings=kept, complete=whole, pieces=pieces)


def _may_hold_lost(content: CallContent, walked: Leaves, shown: ShownToJob) -> bool:
    """Return whether the call has a credential of unknown origin, or any other uncommon word. A goal that repeats the
    word changes nothing. Leaves that are not complete may have one."""
    if any(item.handle is None and item.fingerprint not in shown.systems for item in content.sightings):
        return True
    return not walked.complete or any(map(has_uncommon, walked.texts))


def _sighting(found: Finding) -> Sighting:
    return Sighting(found.fingerprint, found.detector, found.pointer, found.role, found.form)


# --- what is outside the arguments -------------------------------------------------------------------

Problem = Literal["foreign", "unsearched"]
"""Another system's credential is there; or one may be: there is more than can be looked at, or more was shown than is
kept and an uncommon word is there."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message on its way to an upstream. `given` has values that hold no foreign credential: handles that the upstream made
    (request state, task ids), and the gateway's own trace."""

    headers: Headers
    message: Message | None = None
    given: Collection[str] = ()


def examine_message(
    sent: OutgoingMessage, shown: ShownToJob, audience: str, detector: Detector
) -> Problem | tuple[CredentialPiece, ...]:
    """Return the problem with sending this to `audience`, or else the pieces of other systems' credentials in it."""
    texts = _texts(sent)
    walked = leaves({"": [*texts, *_traces(sent)]})
    if not walked.complete:
        return "unsearched"
    found = detector.inspect_leaves(walked, {}, shown.index, new=False)
    if not all(shown.may_go_to(audience, finding.fingerprint) for finding in found.findings):
        return "foreign"
    if found.incomplete or (shown.has_lost_beside(audience) and _has_uncommon(texts)):
        return "unsearched"
    theirs = (piece._replace(shown_by=shown.of_another(audience, piece.fingerprint)) for piece in found.pieces)
    return tuple(piece for piece in theirs if piece.shown_by is not None)


def _has_uncommon(texts: list[Json]) -> bool:
    """Return whether a text may be a credential that was shown and is not kept."""
    return any(has_uncommon(str(text)) for text in texts if text is not None and not isinstance(text, bool))


def find_repeated(sightings: Collection[Sighting], sent: OutgoingMessage, detector: Detector) -> frozenset[str]:
    """Return the fingerprints of a result's credentials that its own call had beside its arguments. The caller sends
    these values everywhere, such as a user agent or the id of a device. The system only repeats them."""
    index = CredentialIndex({item.fingerprint: item.shingles for item in sightings})
    found = detector.inspect({"": _texts(sent)}, {}, index, new=False)
    return frozenset(finding.fingerprint for finding in found.findings)


# --- what is looked at -----------------------------------------------------------------------------------


def _texts(sent: OutgoingMessage) -> list[Json]:
    """Return all values in order, so that parts of a split credential follow each other; then all names."""
    values: list[Json] = list(_header_values(sent))
    names: list[Json] = [_text(name) for name, _ in sent.headers]
    if sent.message is not None:
        flat = flatten(_shown_to_nobody(sent.message))
        values.extend(item for item in flat.scalars if item not in sent.given)
        names.extend(flat.names)
    return [*values, *names]


def _traces(sent: OutgoingMessage) -> Iterator[str]:
    """Yield the ids of traces and their bytes: a caller chooses these. They are too short for the search to read hex there."""
    texts = [value.decode("latin-1") for name, value in sent.headers if name == b"traceparent"]
    meta = None if sent.message is None else sent.message.params.get("_meta")
    if isinstance(meta, Mapping):
        texts.append(str(meta.get("traceparent", "")))
    for text in texts:
        parent = read_parent(text.encode("utf-8", "surrogatepass"))
        if parent is not None:
            ids = (parent[0] + parent[1]).decode()
            yield ids
            yield bytes.fromhex(ids).decode("latin-1")


def _find_decided(message: Message) -> str | None:
    """Return the name of the member of `params` that policy sees; `None` for a method without one."""
    row = None if message.method is None else TABLE.get(message.method)
    return None if row is None else row.decided


def _shown_to_nobody(message: Message) -> JsonObject:
    """Return the parts of a message that no policy sees and no table knows."""
    if message.kind is Kind.RESPONSE:
        return cast("JsonObject", msgspec.json.decode(message.body))
    if message.method == methods.COMPLETION:
        return {"id": message.id, "params": methods.parts_of_completion_beside(message.params)}
    decided = _find_decided(message)
    params = {name: value for name, value in message.params.items() if name != decided}
    return {"id": message.id, "params": params}


def _header_values(sent: OutgoingMessage) -> Iterator[str]:
    """Yield the header values, except of routing headers that repeat the policy input."""
    message = sent.message
    uri = message is not None and message.method == "resources/read"
    arguments: frozenset[str] | None = None
    for name, value in sent.headers:
        text = _text(value)
        if text in sent.given:
            continue
        if name == NAME and (uri or decode(text) in sent.given):
            continue
        if name.startswith(PARAM_PREFIX):
            arguments = _scalars(message) if arguments is None else arguments
            if decode(text) in arguments:
                continue
        yield text


def _scalars(message: Message | None) -> frozenset[str]:
    """Return the values of the decided arguments, in the form of header values."""
    if message is None or _find_decided(message) != "arguments":
        return frozenset()
    found = flatten(message.params.get("arguments")).scalars
    return frozenset(str(item) for item in found if item is not None and not isinstance(item, bool))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
