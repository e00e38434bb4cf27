"""The values of the gateway that live from its start on: the secrets of its configuration, and its keys."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gateway.config.secret_texts import SecretText, secret_texts
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY
from gateway.inspection.credentials.live_values import LiveValues, is_telling
from gateway.inspection.credentials.named import strength

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.config.keys import Keys
    from gateway.inspection.credentials.detect import Detector

_CONFIGURED: Final = "configuration"
_KEYS: Final = "keys"


def open_live_values(configuration: Configuration, keys: Keys, detector: Detector) -> LiveValues:
    """Return the registry, with the secrets of a configuration and the keys of the gateway."""
    live = LiveValues(detector, time.monotonic)
    for secret in secret_texts(configuration):
        audience = OF_THE_GATEWAY if secret.audience is None else secret.audience
        live.hold(f"{_CONFIGURED} {secret.place}", telling_parts(secret, detector), audience, lasting=True)
    hold_keys(live, keys)
    return live


def hold_keys(live: LiveValues, keys: Keys) -> None:
    """Hold the keys of the gateway in the place of those held before."""
    live.hold(_KEYS, _written_keys(keys), OF_THE_GATEWAY, lasting=True)


def telling_parts(secret: SecretText, detector: Detector) -> tuple[str, ...]:
    """Return the parts by which a secret is known: the credentials in its text, or all of it.

    An address without a credential has none. Of a variable whose name is no secret's, only the credentials within count. Regions,
    models and ids of accounts stand in many answers.
    """
    text = secret.text
    found = [hit.value for hit in detector.whole_hits(text.encode("utf-8", "surrogatepass")) if is_telling(hit.value)]
    if found:
        return tuple(dict.fromkeys(found))
    if "://" in text or text.startswith(("/", "~/", "./")) or not is_telling(text):
        return ()
    return () if secret.variable is not None and strength(secret.variable) is None else (text,)


def _written_keys(keys: Keys) -> Iterator[str]:
    """Yield the keys as their files may have them, and as a reader would write them."""
    for key in (*keys.chain.keys, *keys.sealing.keys, *keys.sessions.keys, keys.fingerprints):
        yield base64.b64encode(key).decode()
        yield key.hex()
    for signing in keys.tokens.keys:
        yield signing.key.as_pem(private=True).decode()
        yield str(signing.key.as_dict(private=True)["d"])
