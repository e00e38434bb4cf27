"""An entry of the table of reasons, and the reasons of failures. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gateway.model.decision import Reason, Refusal
from gateway.model.error_codes import REFUSED

if TYPE_CHECKING:
    from gateway.model.errors import GatewayError


class RefusalText(Struct, frozen=True):
    """An entry of the table. Its texts have slots in braces, filled where the gateway refuses."""

    code: str
    status: int
    message: str
    remedy: str
    rpc_code: int = REFUSED
    controls: tuple[str, ...] = ()

    def reason(self, **values: Any) -> Reason:
        """Return the reason, with its slots filled."""
        return Reason(
            self.code.format_map(values), self.message.format_map(values), self.remedy.format_map(values), self.controls
        )

    def refusal(self, **values: Any) -> Refusal:
        """Return the refusal of a request for this reason."""
        return Refusal(self.status, self.reason(**values), self.rpc_code)


def reason_of(error: GatewayError) -> Reason:
    """Return the reason for a failure of the gateway."""
    return Reason(error.code, sentence(error.message), sentence(error.remedy))


def sentence(clause: str) -> str:
    """Return a clause as a sentence: with a capital letter and a full stop."""
    return clause and f"{clause[0].upper()}{clause[1:]}."
