"""An entry of the table of reasons, as the file has it and as the gateway gives it, and the reasons of failures. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct

from gateway.model import error_codes
from gateway.model.decision import Reason, Refusal

if TYPE_CHECKING:
    from gateway.model.errors import GatewayError


_RpcName: TypeAlias = Literal[
    "DENIED",
    "HEADER_MISMATCH",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "MISSING_CAPABILITY",
    "PARSE_ERROR",
    "REFUSED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNSUPPORTED_VERSION",
    "UPSTREAM_FAILED",
]


class RefusalText(Struct, frozen=True):
    """An entry of the table. Its texts have slots in braces, filled where the gateway refuses."""

    code: str
    status: int
    message: str
    remedy: str
    rpc_code: int = error_codes.REFUSED
    controls: tuple[str, ...] = ()

    def reason(self, **values: Any) -> Reason:
        """Return the reason, with its slots filled."""
        return Reason(
            self.code.format_map(values), self.message.format_map(values), self.remedy.format_map(values), self.controls
        )

    def refusal(self, **values: Any) -> Refusal:
        """Return the refusal of a request for this reason."""
        return Refusal(self.status, self.reason(**values), self.rpc_code)


class EntryText(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry as `reasons.json` has it. `rpc` is the name of a code in `error_codes`."""

    code: str
    status: int
    message: str
    remedy: str
    rpc: _RpcName = "REFUSED"
    controls: tuple[str, ...] = ()

    def read(self) -> RefusalText:
        """Return the entry of the table."""
        rpc_code: int = getattr(error_codes, self.rpc)
        return RefusalText(self.code, self.status, self.message, self.remedy, rpc_code, self.controls)


def reason_of(error: GatewayError) -> Reason:
    """Return the reason for a failure of the gateway."""
    return Reason(error.code, sentence(error.message), sentence(error.remedy))


def sentence(clause: str) -> str:
    """Return a clause as a sentence: with a capital letter and a full stop."""
    return clause and f"{clause[0].upper()}{clause[1:]}."
