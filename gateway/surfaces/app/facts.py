"""The operation about declared facts: what a party has done so far, as the rules will count it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.base.control.operations import Operation
from gateway.history.declared.marks import Party
from gateway.history.declared.totals import FactTotal, read_totals
from gateway.identity.assembly import issuer_of
from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.base.control.operations import Control, OperatorName
    from gateway.config import Configuration
    from gateway.history import History
    from gateway.history.declared.marks import FactReader
    from gateway.model.decision import Reason
    from gateway.policy.facts import Scope

_SCOPES: Final[dict[str, tuple[Scope, ...]]] = {
    "agent": ("agent", "party"),
    "user": ("user", "party"),
    "tenant": ("tenant",),
}


class FactsQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """A question about one agent, user or tenant, or about the whole gateway. Without an issuer, each configured one counts."""

    agent: str | None = None
    user: str | None = None
    tenant: str | None = None
    issuer: str | None = None


class HeldTotal(FactTotal, frozen=True):
    """A total with the issuer of its agent or user."""

    issuer: str | None = None


TOTALS: Final = Operation(
    "facts/totals",
    "operator",
    "Show the present totals of declared facts: of an agent, a user or a tenant, or of the whole gateway.",
    list[HeldTotal],
    "",
    FactsQuestion,
    ("GET", "/api/facts"),
)
OPERATIONS: Final = (TOTALS,)


def add_operations(
    control: Control, configuration: Configuration, history: History, reader: FactReader, clock: Callable[[], float]
) -> None:
    """Add the operation about facts."""
    issuers = tuple(issuer_of(identity) for identity in configuration.identity)

    async def show_totals(asked: FactsQuestion, _by: OperatorName) -> list[HeldTotal] | Reason:
        parties = _find_parties(asked, issuers)
        if not parties:
            return reasons.CONTROL_INVALID.reason(problem="it names more than one of agent, user and tenant")
        found: list[HeldTotal] = []
        for scope, party in parties:
            declared = [each for each in reader.book.all if each.scope == scope]
            held = await history.ledger.log.read_tables(reader.find_account(scope, party)) if declared else None
            for total in await read_totals(declared, held or {}, clock()):
                issuer = party.issuer if party is not None and party.issuer else None
                found.append(HeldTotal(*structs.astuple(total), issuer=issuer))
        return found

    control.add({TOTALS: show_totals})


def _find_parties(asked: FactsQuestion, issuers: tuple[str, ...]) -> list[tuple[Scope, Party | None]]:
    """Return the parties of a question, each with a scope of facts. Empty for a question about several."""
    named = list(_find_named(asked))
    if len(named) > 1:
        return []
    if not named:
        return [("all", None)]
    (party,) = named
    vouching = ("",) if party.kind == "tenant" else issuers if asked.issuer is None else (asked.issuer,)
    return [(scope, party._replace(issuer=issuer)) for issuer in vouching for scope in _SCOPES[party.kind]]


def _find_named(asked: FactsQuestion) -> Iterator[Party]:
    if asked.agent is not None:
        yield Party("agent", asked.agent)
    if asked.user is not None:
        yield Party("user", asked.user)
    if asked.tenant is not None:
        yield Party("tenant", asked.tenant)
