"""The open leases in memory, found by id, by task, by terms and by broker. Bounded by its user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from gateway.authority.model import Lease, Scope

Terms: TypeAlias = tuple[str, str, tuple[str, ...], bytes]
"""Task, upstream, scopes and details: calls with equal terms share a lease."""


def terms_of(task: str, upstream: str, scope: Scope) -> Terms:
    """Return the terms of a lease."""
    details = msgspec.json.encode(scope.details, order="deterministic") if scope.details else b""
    return task, upstream, scope.names, details


class LeaseRegister:
    """Open leases. `put` replaces the lease of the same id."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._tasks: dict[str, set[str]] = {}
        self._stuck: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, identifier: str) -> Lease | None:
        return self._leases.get(identifier)

    def put(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        self._tasks.setdefault(lease.task, set()).add(lease.id)
        if lease.state == "stuck":
            self._stuck.setdefault(lease.broker, set()).add(lease.id)

    def remove(self, identifier: str) -> None:
        lease = self._leases.pop(identifier, None)
        if lease is None:
            return
        for index, key in ((self._tasks, lease.task), (self._stuck, lease.broker)):
            members = index.get(key)
            if members is not None:
                members.discard(identifier)
                if not members:
                    del index[key]

    def of_task(self, task: str) -> tuple[Lease, ...]:
        """Return the open leases of a task."""
        return tuple(self._leases[identifier] for identifier in self._tasks.get(task, ()))

    def has_stuck(self, broker: str) -> bool:
        """Return whether an end at this broker is stuck."""
        return broker in self._stuck

    def __iter__(self) -> Iterator[Lease]:
        return iter(tuple(self._leases.values()))
