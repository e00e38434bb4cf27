"""The upstreams in force: the configuration, and the way to each upstream. A change of the configuration swaps both.

A stage reads `current` for each upstream that a call needs, and the call goes on with the value of that moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.model.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config import Configuration
    from gateway.model.target import Target
    from gateway.model.wire import UpstreamReply, UpstreamRequest, UpstreamTransport
    from gateway.upstreams.http import HttpUpstream
    from gateway.upstreams.stdio import StdioUpstream


class Served(Struct, frozen=True, eq=False):
    """One configuration in force. `headers` are the names of the callers' headers that go on, by upstream."""

    configuration: Configuration
    transports: Mapping[str, HttpUpstream | StdioUpstream]
    headers: Mapping[str, frozenset[bytes]]

    @classmethod
    def of(cls, configuration: Configuration, transports: Mapping[str, HttpUpstream | StdioUpstream]) -> Served:
        """Return the served value of a configuration."""
        headers = {
            name: frozenset(header.encode() for header in upstream.headers)
            for name, upstream in configuration.upstreams.items()
            if upstream.headers
        }
        return cls(configuration, transports, headers)

    def find_transport(self, upstream: str) -> UpstreamTransport:
        """Return the way to an upstream. An upstream that was removed during a call cannot be reached."""
        return self.transports.get(upstream) or _AbsentUpstream(
            f"upstream {upstream} was removed from the configuration", "ask the operator of the gateway"
        )

    def find_transport_of(self, target: Target) -> UpstreamTransport:
        """Return the way to the upstream of a decided call. The call goes to no other system than the one it was decided for."""
        name, now = target.upstream, self.configuration.upstreams.get(target.upstream)
        transport = self.transports.get(name)
        if now is None or transport is None:
            return self.find_transport(name)
        decided = target.audience, target.tenant, target.environment, target.trust, target.aggregates, target.is_agent
        if decided != (now.audience, now.tenant, now.environment, now.trust, now.aggregates, now.agent):
            return _AbsentUpstream(f"upstream {name} was changed during the call", "send the call again")
        return transport


class ServedUpstreams:
    """The holder of the served value. `problem` says why a changed configuration stays out.

    `waiting` names the changed settings that count after a restart alone.
    """

    def __init__(self, first: Served) -> None:
        self.current = first
        self.problem: str | None = None
        self.waiting: tuple[str, ...] = ()
        self._listeners: list[Callable[[Served], object]] = []

    def on_change(self, told: Callable[[Served], object]) -> None:
        """Have `told` called with each value that comes into force."""
        self._listeners.append(told)

    def adopt(self, served: Served) -> None:
        """Put a value into force, within one turn of the event loop."""
        self.current = served
        for told in self._listeners:
            told(served)


class _AbsentUpstream:
    """The way to an upstream that the configuration has no more, or has as another system."""

    def __init__(self, problem: str, remedy: str) -> None:
        self._problem = problem
        self._remedy = remedy

    async def send(self, request: UpstreamRequest) -> UpstreamReply:  # noqa: ARG002 - nothing is sent
        """Raise `UpstreamUnreachable`."""
        raise UpstreamUnreachable(self._problem, self._remedy)
