"""The key that the gateway signs task tokens with: `<state>/gateway-key.pem`, P-256, made when it is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway import signing_keys

if TYPE_CHECKING:
    from pathlib import Path

    from joserfc.jwk import ECKey

KEY_FILE: Final = "gateway-key.pem"


def load_key(state: Path) -> ECKey:
    """Read the key below the state folder, or make one. Raises `ConfigurationError`."""
    return signing_keys.load(
        state / KEY_FILE, "the gateway's key", remedy="put it back from a copy, or delete it: open tasks end with it"
    )
