"""A starter of one upstream's processes, with a count. It refuses to exceed the limit, and to start after repeated
failures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import structlog

from gateway.config import Upstream
from gateway.errors import UpstreamUnreachable
from gateway.upstream.stdio.backoff import Backoff
from gateway.upstream.stdio.child import Child, spawn
from gateway.upstream.stdio.throttle import Throttle

log = structlog.get_logger("gateway.upstream.stdio")

MAX_CHILDREN: Final = 64
"""Processes of one upstream. A server in Node or Python holds 40 to 100 MB: this is about 5 GB."""
MAX_CHILDREN_PER_PRINCIPAL: Final = 16
"""Enough for the sessions of one person's editors and agents; one caller cannot take the places of all others."""

INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR")
"""All that a server sees of the gateway's environment: the gateway's own secrets are in the rest."""


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
    ) -> None:
        self._name = name
        self._command = settings.command or ()
        self._cwd = settings.cwd
        self._clock = clock
        self._secrets = [value.get_secret_value() for value in settings.env.values()]
        outer = os.environ if environ is None else environ
        self._env = {key: outer[key] for key in INHERITED if key in outer}
        self._env |= {key: value.get_secret_value() for key, value in settings.env.items()}
        self._conceal = conceal
        self._backoffs: dict[str, Backoff] = {}
        self._children: dict[Child, str] = {}
        self._stops: set[asyncio.Task[None]] = set()
        self._closing = False
        self._throttle = Throttle()

    @property
    def running(self) -> int:
        return len(self._children)

    @property
    def failures(self) -> int:
        """Failed processes in a row, of the principal for whom it is worst."""
        return max((backoff.failures for backoff in self._backoffs.values()), default=0)

    def retry_seconds(self) -> float:
        """Seconds until every principal may start a process again."""
        now = self._clock()
        return max((backoff.wait(now) for backoff in self._backoffs.values()), default=0.0)

    def full_for(self, principal: str) -> bool:
        """Return whether this principal has reached its limit of processes."""
        return sum(owner == principal for owner in self._children.values()) >= MAX_CHILDREN_PER_PRINCIPAL

    async def spawn(self, principal: str) -> Child:
        """Start a process for this principal. If the caller is cancelled, it is ended once it has started.

        Raises `UpstreamUnreachable`: too many processes, the last ones died, or the command cannot be started.
        """
        self._refuse(principal)
        child = Child(
            self._name,
            secrets=self._secrets,
            clock=self._clock,
            conceal=partial(self._conceal, principal),
            gone=self._gone,
            throttle=self._throttle,
        )
        self._children[child] = principal
        starting = asyncio.ensure_future(spawn(self._command, child, env=self._env, cwd=self._cwd))
        try:
            await asyncio.shield(starting)
        except OSError as error:
            self._gone(child)
            raise UpstreamUnreachable(
                f"the command of upstream {self._name} cannot be started: {error.strerror}",
                f"check upstreams.{self._name}.command and cwd",
            ) from error
        except asyncio.CancelledError:
            child.asked = True
            starting.add_done_callback(lambda _: self.stop(child) if child.pid else self._gone(child))
            raise
        if self._closing:
            await child.stop()
            self._refuse(principal)
        return child

    def stop(self, child: Child) -> None:
        """End a process without waiting for it."""
        task = asyncio.get_running_loop().create_task(child.stop())
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def aclose(self) -> None:
        """End all processes, and start no more. Returns when they are gone."""
        self._closing = True
        await asyncio.gather(*(child.stop() for child in list(self._children) if child.pid), *self._stops)

    def forget(self) -> None:
        """Drop what no longer matters."""
        now = self._clock()
        self._backoffs = {key: value for key, value in self._backoffs.items() if not value.forgettable(now)}

    def _refuse(self, principal: str) -> None:
        if self._closing:
            raise UpstreamUnreachable("the gateway is shutting down", "try again when it is up again")
        wait = self._backoffs[principal].wait(self._clock()) if principal in self._backoffs else 0.0
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

    def _gone(self, child: Child) -> None:
        principal = self._children.pop(child)
        if child.asked:
            return
        backoff = self._backoffs.setdefault(principal, Backoff())
        backoff.failed(started=child.started, now=self._clock())
        log.warning("upstream.failed", upstream=self._name, failures=backoff.failures)
