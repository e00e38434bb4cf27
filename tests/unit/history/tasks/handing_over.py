"""Hand-over tokens over real records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.base.keys.key_ring import KeyRing, SigningKey
from gateway.history.tasks.hand_over import HANDED_OVER, HandOvers
from tests.unit.base.store.keeping import sealed_store
from tests.unit.live import live_values

if TYPE_CHECKING:
    from pathlib import Path

    from joserfc.jwk import ECKey

    from gateway.base.store.records import SealedStore

BASE = "https://gateway.example"


def make_hand_overs(key: ECKey, folder: Path) -> HandOvers:
    """Return the tokens of a gateway with records in a folder."""
    return over_store(key, sealed_store(folder, clock=lambda: 1000.0))


def over_store(key: ECKey, store: SealedStore) -> HandOvers:
    """Return the tokens of a gateway on these records."""
    return HandOvers(KeyRing(SigningKey(key)), store.of(HANDED_OVER), base_url=BASE, live=live_values())
