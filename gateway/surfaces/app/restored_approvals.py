"""Open questions and endorsements of the previous gateway: restored from their stores, and brought up to date from the journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gateway.model.errors import HistoryError

if TYPE_CHECKING:
    from gateway.authority.approvals.store import StoredApprovals, StoredEndorsements
    from gateway.model.wire import JsonObject
    from gateway.surfaces.app.people import ApprovalRegisters

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class RestoredApprovals:
    """The registers with the contents of their stores."""

    registers: ApprovalRegisters
    asked: StoredApprovals
    endorsed: StoredEndorsements

    @classmethod
    async def load(cls, registers: ApprovalRegisters) -> RestoredApprovals:
        """Take over the contents of the stores. Raises `StoreError`."""
        return cls(registers, await registers.desk.restore(), await registers.endorsements.restore())

    @property
    def seq(self) -> int:
        """Return the number of the last journal entry in both stores."""
        found = [self.asked.seq] if self.asked.approvals else []
        if self.endorsed.journal:
            found.append(self.endorsed.seq)
        return min(found, default=2**63)

    def follow(self, entries: Iterable[JsonObject]) -> Iterator[JsonObject]:
        """Yield the entries of the journal after both registers have followed each. Raises `HistoryError` for a damaged entry."""
        for entry in entries:
            try:
                self.registers.desk.replay(entry)
                self.registers.endorsements.replay(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise HistoryError(
                    f"an entry of the journal about approvals cannot be read: {error}", "run `opagate journal verify`"
                ) from error
            yield entry

    async def resume(self, journal: str, last: int) -> None:
        """Go on with the questions and endorsements. All end if the journal is another, or lacks its end: the use of an
        approval may be missing, or the revocation of an endorsement. `last` is the number of the journal's last
        entry."""
        desk, endorsements = self.registers
        await desk.resume()
        if self.asked.approvals and self.asked.journal != journal:
            log.error("approvals.withdrawn", problem="the journal is not the one in which they were asked")
            await desk.withdraw_all("journal-replaced")
        if not self.endorsed.endorsements:
            return
        if self.endorsed.journal != journal or self.endorsed.seq > last:
            log.error(
                "endorsements.withdrawn", problem="the journal is not the one in which they were given, or was cut"
            )
            await endorsements.withdraw_all("journal-replaced")
