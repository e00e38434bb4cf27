from dataclasses import dataclass

from gateway.identity.identities import VerifiedCache
from gateway.identity.outcomes import NOT_MINE, NotMine, PresentedCredentials, VerifiedCaller
from gateway.model.caller import AuthMethod, Principal


@dataclass
class Keyed:
    """An authenticator whose generation a test sets."""

    issuer: str = "https://idp.example"
    generation: int | None = 1

    async def authenticate(self, presented: PresentedCredentials) -> NotMine:
        return NOT_MINE


def verified(until: float = 60.0, generation: int | None = 1) -> VerifiedCaller:
    return VerifiedCaller(Principal("a", "https://idp.example", AuthMethod.JWT), until=until, generation=generation)


def test_an_entry_holds_until_its_time():
    cache, entry = VerifiedCache(), verified()
    cache.put((b"k", "local"), Keyed(), entry)
    assert cache.get((b"k", "local"), 59.9) is entry
    assert cache.get((b"k", "local"), 60) is None
    assert len(cache) == 0


def test_another_credential_or_place_is_another_entry():
    cache = VerifiedCache()
    cache.put((b"k", "local"), Keyed(), verified())
    assert cache.get((b"k", "remote"), 0) is None
    assert cache.get((b"other", "local"), 0) is None


def test_an_entry_of_rotated_keys_counts_for_nothing():
    cache, authenticator = VerifiedCache(), Keyed()
    cache.put((b"k", "local"), authenticator, verified())
    authenticator.generation = 2
    assert cache.get((b"k", "local"), 0) is None
    authenticator.generation = 1
    assert cache.get((b"k", "local"), 0) is None


def test_a_full_cache_lets_the_oldest_go():
    cache, authenticator = VerifiedCache(capacity=2), Keyed()
    for name in (b"a", b"b", b"b", b"c"):
        cache.put((name, "local"), authenticator, verified())
    assert len(cache) == 2
    assert cache.get((b"a", "local"), 0) is None
    assert cache.get((b"c", "local"), 0) is not None
