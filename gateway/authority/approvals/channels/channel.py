"""The interface of a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.authority.approvals.channels.notice import NoticeMessage


class UndeliveredError(Exception):
    """A failed delivery of a message. `problem` gives the reason, without a secret or a received text.

    `is_final`: another attempt cannot help. `after` is the wait in seconds asked by the other side.
    """

    def __init__(self, problem: str, *, is_final: bool = False, after: float = 0.0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_final = is_final
        self.after = after


class ApprovalChannel(Protocol):
    """A way to people. `place` names the other side without a secret. `tells_end`: a second message tells of the end."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def tells_end(self) -> bool: ...

    async def send(self, message: NoticeMessage, within: float) -> None:
        """Send a message within so many seconds. Raises `UndeliveredError`. May be cancelled."""
        ...

    async def aclose(self) -> None:
        """Close open connections."""
        ...
