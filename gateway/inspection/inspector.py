"""Inspection of calls, results and declarations with the rules and keys of one deployment. The gateway and a replay
share this inspector, and see the same. Pure."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gateway.credentials.calls import CredentialIndex
from gateway.credentials.detect import Detector
from gateway.credentials.finding import Finding, Inspection, Known, StandIn
from gateway.credentials.stream import Scanner
from gateway.credentials.suppressions import ActiveSuppressions, Suppressions
from gateway.destinations import links as followable_links
from gateway.destinations.directory import EMPTY, Directory
from gateway.inspection.arguments import analyse
from gateway.inspection.code_requests import may_request
from gateway.inspection.results import ResultInspector, ResultWords
from gateway.json.walk import Leaves
from gateway.model.call import Call
from gateway.model.caller import Principal
from gateway.model.content import EVERYTHING, CallContent, Relevance, ResultContent
from gateway.model.target import Effect, Role
from gateway.model.task import Contract, Task
from gateway.words.grounds import grounds
from gateway.words.records import ResultRecords


@dataclass(frozen=True, slots=True)
class Inspector:
    """`key` is the deployment's, for the digests that history keeps in the place of values; `detector` finds
    credentials. Has no state; safe to share."""

    key: bytes = field(repr=False)
    detector: Detector
    suppressions: Suppressions = field(default_factory=Suppressions)
    directory: Directory = field(default=EMPTY, repr=False)
    own_domains: tuple[str, ...] = ()
    """Domains of the operator. A domain stands for those below it too."""
    records: bool = False
    """Whether a tool of the deployment has an argument with the role `record`."""

    def call(
        self,
        call: Call,
        task: Task,
        seen: Mapping[str, frozenset[int]],
        handles: Mapping[str, StandIn] = MappingProxyType({}),
        *,
        quiet: ActiveSuppressions | None = None,
        relevance: Relevance = EVERYTHING,
        index: CredentialIndex | None = None,
        caller: Principal | None = None,
    ) -> CallContent:
        """Return the content of the arguments. The words of the caller's identity are not foreign.

        `seen` has the credentials that the task was shown (`History.seen`), and `index` the same as an index. The call is
        searched for them in every form. `handles` maps the handles in the arguments to their credentials. `quiet` has the
        suppressions in force (`suppressions.of`), and `relevance` the words that matter (`History.relevance`).
        """
        return analyse(
            call,
            key=self.key,
            goal=task.goal,
            contract=task.contract,
            detector=_CallDetector(self.detector, handles, quiet, seen)
            if handles or quiet is not None
            else self.detector,
            known=index or seen or None,
            relevance=relevance,
            directory=self.directory,
            caller=caller,
            own_domains=self.own_domains,
            records=self.records,
        )

    def result(
        self,
        call: Call,
        task: Task,
        *,
        quiet: ActiveSuppressions | None = None,
        seen: Container[str] = (),
        words: bool = True,
    ) -> ResultInspector:
        """Return the inspector of a call's streaming result. `quiet` and `seen` are as for `call`; `words` is whether
        its words matter (`History.keeps_words`)."""
        target = call.target
        trusted = target.trust == "trusted"
        links = task.goal is not None and followable_links.may_be_followed(call, task.goal)
        # A completion repeats what it was told by its nature, and code in a sandbox can say anything: they ground nothing.
        grounds_nothing = trusted and (call.action == "completion/complete" or target.labels.in_sandbox)
        is_read = (words or links) and not grounds_nothing
        scanner = Scanner(self.detector)
        return ResultInspector(
            ResultWords(self.key, trusted=trusted, links=links) if is_read else None,
            _SuppressingScanner(scanner, quiet, seen) if quiet is not None else scanner,
            may_request(target),
            self.result_records(call, task) if self.records else None,
        )

    def result_records(self, call: Call, task: Task) -> ResultRecords | None:
        """Return the observer of records in a result; `None` for a call whose records ground nothing, such as a completion."""
        if not self.records or task.goal is None or call.action == "completion/complete":
            return None
        made = call.target.labels.effect is Effect.WRITE
        return ResultRecords(self.key, grounds(task.goal, None, self.directory), made=made)

    def passing(
        self, *, trusted: bool, words: bool, quiet: ActiveSuppressions | None = None, seen: Container[str] = ()
    ) -> ResultInspector:
        """Return the inspector of data read outside of an open call; without `words`, for credentials alone."""
        scanner = Scanner(self.detector)
        return ResultInspector(
            ResultWords(self.key, trusted=trusted) if words else None,
            _SuppressingScanner(scanner, quiet, seen) if quiet is not None else scanner,
        )

    def spots(self, text: str) -> list[tuple[int, int, str]]:
        """The credentials in a text, for the record: begin, end and `rule:fingerprint` of each."""
        data = text.encode("utf-8", "surrogatepass")
        found: list[tuple[int, int, str]] = []
        read = at = 0
        for hit in self.detector.hits(data):
            if hit.start < read:
                continue
            start = at + len(data[read : hit.start].decode("utf-8", "surrogatepass"))
            at = start + len(data[hit.start : hit.end].decode("utf-8", "surrogatepass"))
            read = hit.end
            found.append((start, at, f"{hit.detector}:{self.detector.fingerprints.of(hit.value, hit.host)}"))
        return found

    def declared(self, goal: str | None, contract: Contract | None) -> ResultContent:
        """Return the content of the user's declaration at the opening of a task. It counts as the user's own words."""
        inspector = ResultInspector(ResultWords(self.key, trusted=True), Scanner(self.detector))
        given = "\n".join((goal or "", *((contract.destinations or ()) if contract else ())))
        found = [part for part in (inspector.feed(json.dumps(given).encode()), inspector.finish()) if part is not None]
        return ResultContent(
            tuple(sighting for part in found for sighting in part.sightings),
            frozenset(token for part in found for token in part.tokens),
            all(part.complete for part in found),
        )


@dataclass(frozen=True, slots=True)
class _CallDetector:
    """A detector that knows the contents of handles and the ignored values."""

    detector: Detector
    handles: Mapping[str, StandIn]
    quiet: ActiveSuppressions | None
    seen: Container[str]

    def word_of(self, fingerprint: str, text: str, /) -> str | None:
        return self.detector.word_of(fingerprint, text)

    def inspect_leaves(
        self, walked: Leaves, roles: Mapping[str, Role], known: Known | CredentialIndex | None = None, /
    ) -> Inspection:
        found = self.detector.inspect_leaves(walked, roles, known, handles=self.handles)
        return (
            replace(found, findings=_unsuppressed(found.findings, self.quiet, self.seen))
            if self.quiet is not None
            else found
        )


@dataclass(frozen=True, slots=True)
class _SuppressingScanner:
    """A scanner without what is taken for no credential."""

    scanner: Scanner
    quiet: ActiveSuppressions
    seen: Container[str]

    @property
    def incomplete(self) -> bool:
        return self.scanner.incomplete

    def feed(self, chunk: bytes, /) -> tuple[Finding, ...]:
        return _unsuppressed(self.scanner.feed(chunk), self.quiet, self.seen)

    def finish(self, chunk: bytes = b"", /) -> tuple[Finding, ...]:
        return _unsuppressed(self.scanner.finish(chunk), self.quiet, self.seen)


def _unsuppressed(found: tuple[Finding, ...], quiet: ActiveSuppressions, seen: Container[str]) -> tuple[Finding, ...]:
    return tuple(item for item in found if not quiet.covers(item, seen))
