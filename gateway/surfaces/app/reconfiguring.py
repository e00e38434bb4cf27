"""The configuration file and the labels file of a running gateway, looked at again and again.

A changed file comes into force once it has been still for one look. Labels, upstreams and limits count at once. Other settings are
named until a restart (`ServedUpstreams.waiting`). A file that cannot be read stays out as a whole, and `problem` says why.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gateway.base.concurrency.background import Job, in_thread
from gateway.base.file_access import FileMarks, mark_files
from gateway.config.changes import OF_POLICY, ConfigurationChange, compare
from gateway.config.loading import forget_secrets
from gateway.history.events import Relabelled, to_fields
from gateway.model.errors import ConfigurationError, GatewayError
from gateway.record.journal.entry import configuration_entry
from gateway.surfaces.app import content
from gateway.surfaces.app.assembly import close_together, upstream_transports
from gateway.surfaces.app.authority import lend_to_listings
from gateway.surfaces.app.observing import build_observe_mode
from gateway.surfaces.app.relabelling import find_new_labels
from gateway.surfaces.app.reloading import watch_upstreams
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.served import Served
from gateway.upstreams.stdio import StdioUpstream
from gateway.wire.http.capacity import find_room

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.calls.composition import Gateway
    from gateway.calls.response.open_answers import OpenAnswer
    from gateway.config import Configuration

log = structlog.get_logger("gateway")


class Reconfiguration:
    """The look at the files of a gateway's configuration, and the change of its parts."""

    def __init__(self, source: Path, gateway: Gateway, read: Callable[[Path], Configuration]) -> None:
        self._source = source
        self._read_file = read
        self._gateway = gateway
        self._served = gateway.served
        self._labels = self._served.current.configuration.labels
        """The labels file of the last configuration that could be read."""
        self._loaded: FileMarks = mark_files(self._list_files())
        self._seen = self._loaded
        self._closing: set[Job] = set()

    def read_again(self) -> None:
        """Have the next look read the files even if they seem unchanged: files of secrets may have changed."""
        self._loaded = ()

    async def stop(self) -> None:
        """Close the replaced upstreams, without waiting for their calls."""
        await asyncio.gather(*(job.stop() for job in self._closing))

    async def look(self) -> None:
        """Look once. Log why changed files stay out, and what came into force."""
        seen = await in_thread(partial(mark_files, self._list_files()))
        is_still, self._seen = seen == self._seen, seen
        if seen == self._loaded or not is_still:
            return
        try:
            wanted, digest = await in_thread(self._read)
            forget_secrets(wanted)
            self._labels = wanted.labels
            # The labels file may be another one than before, and was not looked at yet.
            if (
                len(seen) == len(self._list_files())
                and await in_thread(partial(mark_files, self._list_files())) == seen
            ):
                self._loaded = seen
                await self._take(compare(self._served.current.configuration, wanted), digest)
        except GatewayError as error:
            # The cause may lie elsewhere, such as a full disk or a secret's file, so each look tries again.
            self._loaded = ()
            self._keep_out(f"{error.message}; {error.remedy}; the configuration before stays in force")
        else:
            self._served.problem = None

    def _list_files(self) -> tuple[Path, ...]:
        return (self._source,) if self._labels is None else (self._source, self._labels)

    def _read(self) -> tuple[Configuration, str]:
        """Return the configuration in the files, and the digest of both files."""
        wanted = self._read_file(self._source)
        files = [self._source] if wanted.labels is None else [self._source, wanted.labels]
        digest = hashlib.sha256()
        for path in files:
            try:
                digest.update(path.read_bytes())
            except OSError as error:
                raise ConfigurationError(
                    f"{path} cannot be read: {error.strerror}", "let the gateway read it"
                ) from None
        return wanted, digest.hexdigest()

    def _keep_out(self, problem: str) -> None:
        if problem != self._served.problem:
            log.error("configuration.kept-out", problem=problem)
        self._served.problem = problem

    async def _take(self, change: ConfigurationChange, digest: str) -> None:
        """Put a change into force. Raises `GatewayError`, and then nothing has changed."""
        if change.waiting and change.waiting != self._served.waiting:
            log.warning("configuration.waits", settings=list(change.waiting), remedy="restart the gateway")
        if change.is_empty:
            self._served.waiting = change.waiting
            return
        gateway, before = self._gateway, self._served.current
        find_room(change.after)
        transports = self._build_transports(change)
        added = {name: change.after.upstreams[name] for name in change.added}
        await gateway.catalogue.begin_with(added, change.after.credential_of)
        listed = {name: sorts["tool"].names() for name, sorts in gateway.catalogue.definitions.items()}
        labels = find_new_labels(change, before.configuration.upstreams, listed)
        history = to_fields(Relabelled(labels)) if labels else None
        await gateway.journal.append("configuration", configuration_entry(change, digest, history))
        gone = {name: before.transports[name] for name in (*change.removed, *change.rebuilt)}
        await gateway.catalogue.adopt(
            change.after.upstreams,
            lend_to_listings(transports, gateway.authority),
            relisted=(*change.added, *change.rebuilt),
            credential_of=change.after.credential_of,
        )
        if labels:
            await gateway.history.ledger.relabel(labels)
        self._put_into_force(change, Served.of(change.after, transports))
        self._served.waiting = change.waiting
        self._begin_closing(change, gone)
        log.info(
            "configuration.loaded",
            digest=digest,
            added=list(change.added),
            removed=list(change.removed),
            changed={name: list(names) for name, names in change.changed.items()},
            limits=list(change.limits),
        )

    def _build_transports(self, change: ConfigurationChange) -> dict[str, HttpUpstream | StdioUpstream]:
        """Return the ways to all upstreams: new ones for added and rebuilt upstreams, else the present ones."""
        gateway, present = self._gateway, self._served.current.transports
        fresh = {*change.added, *change.rebuilt}
        if not fresh:
            return {name: present[name] for name in change.after.upstreams}
        origins = gateway.credential_chain.origins
        conceal = content.stderr_concealer(change.after, gateway.inspector, origins, gateway.live)
        built = upstream_transports(change.after, gateway.clock, conceal)
        for name in fresh:
            server = built[name]
            if isinstance(server, StdioUpstream):
                server.require_isolation()
        return {name: built[name] if name in fresh else present[name] for name in change.after.upstreams}

    def _put_into_force(self, change: ConfigurationChange, served: Served) -> None:
        """Change all parts within one turn of the event loop."""
        gateway, after = self._gateway, served.configuration
        content.hold_secrets(gateway.live, after, gateway.inspector.detector)
        gateway.inspector.records = content.has_records(after)
        gateway.schemas.lenient = content.find_lenient(after)
        gateway.observing.adopt(build_observe_mode(after, gateway.clock, gateway.monotonic))
        gateway.identities.adopt(after)
        for people in gateway.token_people.values():
            people.identities.adopt(after)
        if change.limits:
            limits = after.limits
            gateway.places.adopt(limits.in_flight_per_caller, limits.streams_per_caller, limits.streams)
            for transport in served.transports.values():
                transport.adopt_limits(limits)
        if not {*OF_POLICY}.isdisjoint(change.limits):
            gateway.policy.adopt_limits(after.policy)
            if gateway.shadow is not None:
                gateway.shadow.adopt(after.policy)
        fresh = {name: served.transports[name] for name in (*change.added, *change.rebuilt)}
        watch_upstreams(gateway.tls, fresh)
        self._served.adopt(served)

    def _begin_closing(self, change: ConfigurationChange, gone: dict[str, HttpUpstream | StdioUpstream]) -> None:
        """End what belongs to removed and replaced upstreams. Calls under way have `limits.drain` to end."""
        if not gone:
            return
        gateway = self._gateway
        for transport in gone.values():
            if isinstance(transport, HttpUpstream) and transport.authorities is not None:
                gateway.tls.remove(transport.authorities)
        answers = gateway.answers.of_upstreams(gone)
        for answer in answers:
            if answer.is_idle:
                answer.cut()
        job = Job(partial(self._close, answers, tuple(gone.values()), frozenset(change.removed)), "replaced upstreams")
        self._closing = {each for each in self._closing if not each.is_done()} | {job}

    async def _close(
        self,
        answers: frozenset[OpenAnswer],
        transports: tuple[HttpUpstream | StdioUpstream, ...],
        removed: frozenset[str],
    ) -> None:
        """Withdraw what waits for removed upstreams, wait for the calls under way, and close the ways."""
        try:
            await self._withdraw_questions(removed)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._served.current.configuration.limits.drain.total_seconds()):
                    await self._gateway.answers.wait_for(answers)
            authority = self._gateway.authority
            if authority is not None and removed:
                authority.leases.end_all(lambda lease: lease.upstream in removed, "operator")
        finally:
            await close_together(transports)

    async def _withdraw_questions(self, removed: frozenset[str]) -> None:
        """Withdraw the open questions about calls to removed upstreams."""
        people = self._gateway.people
        for approval in () if people is None else people.desk.list_open():
            if people is not None and approval.question.target.partition("/")[0] in removed:
                try:
                    await people.desk.withdraw(approval.id, "upstream-removed")
                except GatewayError as error:
                    log.error("configuration.question-left", id=approval.id, problem=error.message)  # noqa: TRY400
