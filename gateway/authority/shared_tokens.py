"""Tokens that other gateways have minted, as upstreams may ask any gateway of a database about them.

The token of a task has the id of its lease as `jti`, so the record of the lease says whether it is active. The token of a call
has a record with an end, from before the call is forwarded until after its answer. Records have no token: a keyed fingerprint
names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.minting import read_minted
from gateway.base.store.records import RecordKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.authority.introspection import Introspector
    from gateway.authority.minting import MintedToken
    from gateway.authority.register import LeaseRegister
    from gateway.authority.store import LeaseStore
    from gateway.base.store.records import SealedStore


class TokenOfCall(Struct, frozen=True):
    """An active token of a call. `replica` is the gateway that minted it, and `owner` the key of the caller."""

    fingerprint: str
    owner: str
    replica: str


TOKENS_OF_CALLS: Final = RecordKind("token of a call", TokenOfCall, "the token works at no upstream that asks")


class SharedTokens:
    """The active tokens of all gateways. `replica` names this gateway, and `list_living` the gateways that have not ended.

    `others` has the leases of other gateways, as of the last look.
    """

    def __init__(
        self,
        store: SealedStore,
        leases: LeaseStore,
        replica: str,
        *,
        list_living: Callable[[], Awaitable[frozenset[str]]],
        fingerprint: Callable[[str], str],
        others: LeaseRegister,
    ) -> None:
        self._records = store.of(TOKENS_OF_CALLS)
        self._leases = leases
        self._replica = replica
        self._list_living = list_living
        self._fingerprint = fingerprint
        self._others = others
        self._added: set[str] = set()
        self._ended: set[str] = set()

    async def add(self, token: MintedToken) -> None:
        """Note the token of a call before the call carries it. Raises `StoreError`."""
        record = TokenOfCall(self._fingerprint(token.value), token.owner or "", self._replica)
        self._added.add(token.jti)
        await self._records.add(token.jti, record, expires=token.expires)

    def has(self, jti: str) -> bool:
        """Return whether this gateway has noted the token of a call, so that any gateway may have ended it."""
        return jti in self._added

    def end(self, jti: str) -> None:
        """Have the next `flush` end a token, if it is of a call of this gateway."""
        if jti in self._added:
            self._added.remove(jti)
            self._ended.add(jti)

    async def revoke(self, jti: str) -> None:
        """End the token of a call of any gateway at once. Raises `StoreError`."""
        await self._records.remove(jti)

    async def flush(self) -> None:
        """End the tokens of ended calls at all gateways. Raises `StoreError`: then the next flush tries again."""
        if ended := frozenset(self._ended):
            await self._records.remove(*ended)
            self._ended -= ended

    async def expire(self) -> None:
        """Forget the tokens of gateways that ended before their calls. Raises `StoreError`."""
        await self._records.expire()

    async def find(self, token: str, jti: str, now: float) -> MintedToken | None:
        """Return an active token of another gateway, or of a call of this one. Raises `StoreError`."""
        owner = None if jti in self._ended else await self._find_owner(token, jti, now)
        return None if owner is None else read_minted(token, owner)

    async def _find_owner(self, token: str, jti: str, now: float) -> str | None:
        """Return the owner of an active token. The fingerprint covers the whole text, so nothing else of it is verified."""
        found = await self._leases.find(jti)
        if found is not None:
            lease, known = found[0], self._others.get(jti)
            if lease.replica == self._replica:
                return None  # its register has ended the token, and the record may be late
            # This gateway may have ordered the end of the lease a moment ago.
            is_active = lease.state == "active" and lease.expires > now and (known is None or known.state == "active")
            return lease.owner if is_active and self._fingerprint(token) in lease.fingerprints else None
        record = await self._records.get(jti)
        if record is None or record.fingerprint != self._fingerprint(token):
            return None
        is_living = record.replica == self._replica or record.replica in await self._list_living()
        return record.owner if is_living else None


async def find_token(
    introspector: Introspector, shared: SharedTokens | None, token: str, now: float
) -> MintedToken | None:
    """Return an active token of any gateway. Raises `StoreError`."""
    found, asked = introspector.find(token, now), read_minted(token, "")
    if shared is None or asked is None or (found is not None and not shared.has(asked.jti)):
        return found
    return await shared.find(token, asked.jti, now)
