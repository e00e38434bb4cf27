"""Requests of operators on a socket: the check of the account, the reading of a line, and the form of the answer.

`opagate leases`, `connections` and `signals` add their own requests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from gateway import reasons
from gateway.line_socket import describe_refusal
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.line_socket import Peer

ROOT: Final = 0
Request = TypeVar("Request", bound=Struct)


class Operators(ABC, Generic[Request]):
    """Answers to operators. `own` is the number of the gateway's account. `word` begins the codes of refusals."""

    def __init__(self, request: type[Request], word: str, own: int) -> None:
        self._request = request
        self._word = word
        self._own = own

    async def serve(self, line: bytes, peer: Peer) -> bool:
        """Answer a line, and return whether the peer may send another."""
        document, may_go_on = await self.answer(line, peer.uid)
        await peer.send(document)
        return may_go_on

    async def answer(self, line: bytes, uid: int) -> tuple[dict[str, Any], bool]:
        """Return the answer to a line, and whether the peer may send another."""
        if uid not in {self._own, ROOT}:
            return describe_refusal(reasons.OPERATOR_ACCOUNT.reason(word=self._word)), False
        try:
            request = msgspec.json.decode(line, type=self._request)
        except msgspec.MsgspecError as error:
            return describe_refusal(reasons.OPERATOR_INVALID.reason(word=self._word, problem=error)), True
        found = await self._do(request)
        return (describe_refusal(found) if isinstance(found, Reason) else {"ok": found}), True

    @abstractmethod
    async def _do(self, request: Request) -> Any:
        """Return the result of a request, or the reason of its refusal."""
