"""Who calls: tokens and certificates to a `Principal` (phase 3 of a call)."""

from gateway.identity.identities import Identities
from gateway.identity.keys import KeyStatus

__all__ = ["Identities", "KeyStatus"]
