"""A starter of one upstream's processes, with a count. A start over the limit, or after repeated failures, is
refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Container, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from gateway.base.concurrency.background import in_thread
from gateway.config import Upstream
from gateway.config.authority import LeasedCredential
from gateway.config.own_files import OwnFiles
from gateway.model.errors import ConfigurationError, UpstreamUnreachable
from gateway.model.wire import HandedCredential
from gateway.upstreams.stdio.aws_endpoint import ContainerEndpoint
from gateway.upstreams.stdio.child import ServerProcess, Throttle, spawn
from gateway.upstreams.stdio.handed import HandedProcess
from gateway.upstreams.stdio.isolation.description import Isolation, describe
from gateway.upstreams.stdio.isolation.launch import Launcher

log = structlog.get_logger("gateway.upstream.stdio")

MAX_CHILDREN: Final = 64
"""Processes of one upstream. A server in Node or Python holds 40 to 100 MB: this is about 5 GB."""
MAX_CHILDREN_PER_PRINCIPAL: Final = 16
"""Enough for the sessions of one person's editors and agents; one caller cannot take the places of all others."""

MAX_WITHDRAWN: Final = 4096
"""Ended leases that are remembered, so that a call on its way starts no process with one."""

INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR")
"""All that a server sees of the gateway's environment: the gateway's own secrets are in the rest."""


def build_environment(settings: Upstream, outer: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an upstream's servers, without a leased credential."""
    inherited = {key: outer[key] for key in INHERITED if key in outer}
    return inherited | settings.own_variables


Conceal: TypeAlias = Callable[[str, str], str]
"""Given a `Principal.key`, and a line that a process of that principal wrote to its standard error: the line without
credentials."""


def shown_as_is(_principal: str, line: str) -> str:
    return line


class Spawner:
    """`principal` is a `Principal.key` throughout."""

    def __init__(
        self,
        name: str,
        settings: Upstream,
        *,
        clock: Callable[[], float],
        environ: Mapping[str, str] | None = None,
        conceal: Conceal = shown_as_is,
        folder: Path = Path(),
        launcher: Launcher | None = None,
    ) -> None:
        self._name = name
        self._folder = folder
        self._launcher = launcher or Launcher(name, settings, OwnFiles(), folder)
        leased = settings.credential
        self._hand_over = leased.hand_over if isinstance(leased, LeasedCredential) else None
        self._withdrawn: dict[str, None] = {}
        self._endpoint = ContainerEndpoint()
        self._clock = clock
        self._secrets = [value.get_secret_value() for value in settings.env.values()]
        self._env = build_environment(settings, os.environ if environ is None else environ)
        self._conceal = conceal
        self._backoffs: dict[str, Backoff] = {}
        self._problem: str | None = None
        """The reason of the latest start that failed, until a start goes well."""
        self._children: dict[ServerProcess, str] = {}
        self._scratch: dict[ServerProcess, Path] = {}
        self._stops: set[asyncio.Task[None]] = set()
        self._closing = False
        self._throttle = Throttle()

    @property
    def running(self) -> int:
        return len(self._children)

    @property
    def failures(self) -> int:
        """Return the failed processes in a row, of the worst principal."""
        return max((backoff.failures for backoff in self._backoffs.values()), default=0)

    def wait_seconds(self, principal: str) -> float:
        """Return seconds until a principal may start a process again."""
        return self._backoffs[principal].wait(self._clock()) if principal in self._backoffs else 0.0

    def retry_seconds(self) -> float:
        """Return seconds until every principal may start a process again."""
        now = self._clock()
        return max((backoff.wait(now) for backoff in self._backoffs.values()), default=0.0)

    def require_isolation(self) -> None:
        """Raise `ConfigurationError` if the configured isolation is not to be had, and log the isolation."""
        self._launcher.require()
        found = self.isolation
        told = {"upstream": self._name, "by": found.by, "open": list(found.leaves_open)}
        if found.is_open:
            log.warning("upstream.isolation", **told)
        else:
            log.info("upstream.isolation", **told)

    @property
    def isolation(self) -> Isolation:
        return describe(self._launcher)

    def full_for(self, principal: str) -> bool:
        """Return whether this principal has reached its limit of processes."""
        return sum(owner == principal for owner in self._children.values()) >= MAX_CHILDREN_PER_PRINCIPAL

    async def spawn(self, principal: str, credential: HandedCredential | None = None) -> ServerProcess:
        """Start a process for this principal, with a leased credential. After a cancelled call, the process is ended
        once started.

        Raises `UpstreamUnreachable`: too many processes, the last processes died, or the command cannot be started.
        """
        self._refuse(principal)
        self._refuse_withdrawn(credential)
        handed = self._hand(credential)
        child = ServerProcess(
            self._name,
            secrets=[*self._secrets, *(() if credential is None else credential.secrets())],
            clock=self._clock,
            conceal=partial(self._conceal, principal),
            gone=self._note_end,
            throttle=self._throttle,
            handed=handed,
        )
        self._children[child] = principal
        env = self._env if handed is None else {**handed.defaults, **self._env, **handed.variables}
        starting = asyncio.ensure_future(self._start(child, env))
        try:
            await asyncio.shield(starting)
        except ConfigurationError as error:
            self._abort(child, error.message)
            raise UpstreamUnreachable(error.message, error.remedy) from error
        except OSError as error:
            problem = error.strerror or str(error)
            self._abort(child, problem)
            raise UpstreamUnreachable(
                f"the command of upstream {self._name} cannot be started: {problem}",
                f"check upstreams.{self._name}.command and cwd",
            ) from error
        except asyncio.CancelledError:
            child.asked = True
            starting.add_done_callback(lambda _: self.stop(child) if child.pid else self._abort(child))
            raise
        self._problem = None
        if self._closing:
            await child.stop()
            self._refuse(principal)
        return child

    async def _start(self, child: ServerProcess, env: Mapping[str, str]) -> None:
        if self._launcher.installation is not None:
            await in_thread(self._launcher.install)
        launch = self._launcher.prepare(env, () if child.handed is None else child.handed.folders)
        if launch.scratch is not None:
            self._scratch[child] = launch.scratch
        await spawn(launch.command, child, env=launch.env, cwd=launch.cwd, has_monitor=launch.has_monitor)
        if child.handed is not None:
            child.handed.begin()

    def _hand(self, credential: HandedCredential | None) -> HandedProcess | None:
        """Prepare the hand-over to a process."""
        if credential is None or self._hand_over is None:
            return None
        with self._explain_failure():
            return HandedProcess(self._hand_over, credential, self._folder, self._endpoint)

    @contextlib.contextmanager
    def _explain_failure(self) -> Generator[None]:
        """Raise `UpstreamUnreachable` for a failed hand-over of a credential."""
        try:
            yield
        except ValueError as error:
            raise UpstreamUnreachable(
                f"upstream {self._name} cannot get its credential: {error}",
                f"have the operator correct upstreams.{self._name}.credential.hand_over",
            ) from None
        except OSError as error:
            raise UpstreamUnreachable(
                f"upstream {self._name} cannot get its credential: {error.strerror or error}",
                "have the operator look at the folder that `opagate check` names",
            ) from None

    def renew(self, child: ServerProcess, credential: HandedCredential | None) -> bool:
        """Return whether a running process has a credential, perhaps given just now. Raises `UpstreamUnreachable`."""
        self._refuse_withdrawn(credential)
        if child.handed is None or credential is None:
            return child.handed is None and credential is None
        with self._explain_failure():
            return child.handed.renew(credential)

    def _refuse_withdrawn(self, credential: HandedCredential | None) -> None:
        """Raise `UpstreamUnreachable` for a credential of an ended lease."""
        if credential is not None and credential.lease in self._withdrawn:
            raise UpstreamUnreachable(
                f"the credential for upstream {self._name} ended meanwhile", "call again: the gateway obtains another"
            )

    async def withdraw(self, lease: str) -> bool | None:
        """End each process with the credential of a lease. Return whether all are proven gone, `None` if there was
        none. No process gets the credential from then on.
        """
        self._withdrawn[lease] = None
        while len(self._withdrawn) > MAX_WITHDRAWN:
            del self._withdrawn[next(iter(self._withdrawn))]
        holders = [child for child in self._children if child.handed is not None and child.handed.lease == lease]
        if not holders:
            return None
        for child in holders:
            if child.handed is not None:
                child.handed.withdraw()
        await asyncio.gather(*(self._end_at_once(child, "ended with its credential") for child in holders))
        return all(child.handed is not None and child.handed.is_gone() for child in holders)

    @property
    def principals(self) -> frozenset[str]:
        """Return the principals with a process."""
        return frozenset(self._children.values())

    async def end_processes(self, principals: Container[str]) -> int:
        """End the processes of principals, and return their number."""
        ending = [child for child, principal in self._children.items() if principal in principals]
        await asyncio.gather(*(self._end_at_once(child, "ended by an operator's stop") for child in ending))
        return len(ending)

    async def _end_at_once(self, child: ServerProcess, reason: str) -> None:
        await child.begun.wait()
        if child.pid:
            await child.stop(reason, at_once=True)

    def stop(self, child: ServerProcess) -> None:
        """End a process without waiting."""
        task = asyncio.get_running_loop().create_task(child.stop())
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def aclose(self) -> None:
        """End all processes, and start no more. Returns when all are gone."""
        self._closing = True
        await asyncio.gather(*(child.stop() for child in list(self._children) if child.pid), *self._stops)
        await self._endpoint.aclose()

    def forget(self) -> None:
        """Drop entries without further use."""
        now = self._clock()
        self._backoffs = {key: value for key, value in self._backoffs.items() if not value.forgettable(now)}

    def _refuse(self, principal: str) -> None:
        if self._closing:
            raise UpstreamUnreachable("the gateway is shutting down", "try again when it is up again")
        wait = self.wait_seconds(principal)
        if wait > 0:
            raise UpstreamUnreachable(
                f"upstream {self._name} keeps ending; it may be started again in {wait:.1f} s",
                f"try again in {wait:.0f} s; the gateway's log has what it wrote to its standard error",
            )
        if self.full_for(principal):
            raise UpstreamUnreachable(
                f"upstream {self._name} already runs {MAX_CHILDREN_PER_PRINCIPAL} processes for this caller",
                "end sessions that are no longer needed (DELETE), or wait until idle ones end",
            )
        if self.running >= MAX_CHILDREN:
            raise UpstreamUnreachable(
                f"upstream {self._name} already runs {MAX_CHILDREN} processes, which is the limit",
                "try again later, or serve this upstream over streamable HTTP",
            )

    def _abort(self, child: ServerProcess, problem: str | None = None) -> None:
        """Forget a child after a failed start. The same problem is logged once."""
        if problem is not None and problem != self._problem:
            log.warning("upstream.not-started", upstream=self._name, problem=problem)
            self._problem = problem
        if child.handed is not None:
            child.handed.finish()
        child.begun.set()
        self._note_end(child)

    def _note_end(self, child: ServerProcess) -> None:
        scratch = self._scratch.pop(child, None)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        principal = self._children.pop(child)
        if child.asked:
            return
        backoff = self._backoffs.setdefault(principal, Backoff())
        backoff.failed(started=child.started, now=self._clock())
        log.warning("upstream.failed", upstream=self._name, failures=backoff.failures)


FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
STEADY_LIFE: Final = 60.0
"""Seconds after which a process counts as one that had started well."""


class Backoff:
    """Counts failures in a row. Times in seconds of one clock, comparable with each other."""

    def __init__(self) -> None:
        self.failures = 0
        self._failed_at = float("-inf")

    def failed(self, *, started: float, now: float) -> None:
        """Note that a process started at `started` ended at `now` by itself. Processes running together before the last
        failure count as a single failure."""
        if now - started >= STEADY_LIFE:
            self.failures = 0
        if started >= self._failed_at or self.failures == 0:
            self.failures += 1
        self._failed_at = now

    def wait(self, now: float) -> float:
        """Return the seconds until the next allowed start; 0 for now, or for a clock set back."""
        since = now - self._failed_at
        return max(0.0, self._delay() - since) if since >= 0 else 0.0

    def forgettable(self, now: float) -> bool:
        """Return whether its record no longer matters."""
        return now - self._failed_at > STEADY_LIFE

    def _delay(self) -> float:
        return min(FIRST_DELAY * 2.0 ** min(self.failures - 1, 16), LONGEST_DELAY)
