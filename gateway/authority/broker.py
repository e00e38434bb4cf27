"""The interface of brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.authority.model import (
        BrokerRefusal,
        Credential,
        Issued,
        Lease,
        LeaseRequest,
        NotEnded,
        Proof,
    )
    from gateway.model.target import Revocable


class Broker(Protocol):
    """A way to obtain and end credentials. Adapters are thin: no retry, no cache, no journal, since the ledger has these.

    `name` is the broker's in the configuration, `kind` the word there. `min_ttl` is the shortest life in seconds that its issuer grants.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def revocable(self) -> Revocable: ...
    @property
    def min_ttl(self) -> float: ...

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        """Return the handle that the journal keeps before `issue` runs. After a crash in between, `end` works with it alone."""
        ...

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        """Obtain a credential no wider and no longer than the request. Never raises for anything that the issuer did."""
        ...

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        """End the credential at its issuer, and prove it. `credential` is `None` if the value is lost, as after a restart.

        A success of the revocation endpoint is no proof: ask again (introspection, lookup, absence). May be called many times.
        An empty `lease.handle` means that `prepare` gave none, as after a kill in it: then nothing was issued.
        """
        ...

    async def aclose(self) -> None: ...
