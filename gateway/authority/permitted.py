"""The grounds of leases that a policy permitted, found by lease and by the revision of that policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.authority.model import LeaseGrounds


class PermittedLeases:
    """LeaseGrounds by the ids of leases. A look for leases of other revisions costs nothing while there are none."""

    def __init__(self) -> None:
        self._grounds: dict[str, LeaseGrounds] = {}
        self._revisions: dict[str, dict[str, None]] = {}

    def put(self, identifier: str, grounds: LeaseGrounds) -> None:
        """Keep the grounds of a lease."""
        self.remove(identifier)
        self._grounds[identifier] = grounds
        self._revisions.setdefault(grounds.revision, {})[identifier] = None

    def remove(self, identifier: str) -> None:
        """Forget the grounds of a lease, if it has any."""
        grounds = self._grounds.pop(identifier, None)
        if grounds is None:
            return
        others = self._revisions[grounds.revision]
        del others[identifier]
        if not others:
            del self._revisions[grounds.revision]

    def confirm(self, identifier: str, revision: str) -> None:
        """Note that the policy of this revision permits a lease too."""
        grounds = self._grounds.get(identifier)
        if grounds is not None:
            self.put(identifier, structs.replace(grounds, revision=revision))

    def all(self) -> Iterable[tuple[str, LeaseGrounds]]:
        """Return the ids of all leases, with their grounds."""
        return self._grounds.items()

    def outdated(self, revision: str) -> list[tuple[str, LeaseGrounds]]:
        """Return the ids of the leases that no policy of this revision permitted, with their grounds."""
        return [
            (identifier, self._grounds[identifier])
            for permitting, leases in self._revisions.items()
            if permitting != revision
            for identifier in leases
        ]
