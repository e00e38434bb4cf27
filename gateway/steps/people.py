"""The parts with which a call that a person has to approve is held and released. Built by `app`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.approvals.desk import Desk
from gateway.approvals.model import Assurance
from gateway.approvals.office import Office
from gateway.approvals.seal import TicketSeal
from gateway.identity.identities import Identities
from gateway.journal.redaction import KnownCredentials
from gateway.model.call import Call
from gateway.model.facts import SessionFacts
from gateway.model.wire import JsonObject
from gateway.steps.completion_notices import CompletionNotices
from gateway.transport.concurrency import ConcurrencyLimit

HELD_PER_CALLER: Final = 16
HELD: Final = 256


class Holds:
    """Requests that wait for a person at the same time: bounded for each caller and in all."""

    def __init__(self, per_caller: int = HELD_PER_CALLER, in_all: int = HELD) -> None:
        self._of_caller = ConcurrencyLimit(per_caller)
        self._left = in_all

    @contextmanager
    def enter(self, caller: str) -> Generator[bool]:
        """Give whether the request may wait, and count it while it does."""
        if not self._left or not self._of_caller.admit(caller):
            yield False
            return
        self._left -= 1
        try:
            yield True
        finally:
            self._left += 1
            self._of_caller.leave(caller)


@dataclass(frozen=True, slots=True)
class Approvers:
    """The identities of people who answer over HTTP. `assurance` is the worth of a login at their issuer."""

    identities: Identities
    assurance: Assurance


@dataclass(frozen=True, slots=True)
class People:
    """The way to people. `page_url` is the address of the page of a question, without its id. `describe` returns the arguments of a
    call without credentials, as far as they are shown whole."""

    desk: Desk
    office: Office
    tickets: TicketSeal
    page_url: str
    describe: Callable[[Call, SessionFacts, KnownCredentials | None, bool], JsonObject]
    notices: CompletionNotices
    holds: Holds = field(default_factory=Holds)
    approvers: Approvers | None = None
    """`None`: people answer over the socket only."""
