"""The gateway's keys, each for one purpose: files that the configuration gives, or made below the state folder.

| key | for | shared by the gateways of a deployment |
|---|---|---|
| `chain` | the links of the journal, and snapshots of history | never: its reader can forge the record |
| `sessions` | session ids of the handshake era | yes |
| `fingerprints` | digests of arguments, results, words and credentials | yes |
| `tokens` | signatures of task tokens (P-256, PEM); the key of access tokens is derived from it | yes |

The first three are 32 random bytes, as they are or in base64. Two keys with the same bytes are refused.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Final, Literal

from gateway.base.keys import signing_keys
from gateway.base.keys.key_files import KeyFile
from gateway.base.keys.subkeys import key_id, subkey
from gateway.model.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

    from gateway.config import Configuration
    from gateway.model.errors import GatewayError

Name = Literal["chain", "sessions", "fingerprints", "tokens"]

KEY_BYTES: Final = 32
_SECRETS: Final[tuple[Name, ...]] = ("chain", "sessions", "fingerprints")
FILES: Final[dict[Name, str]] = {
    "chain": "journal-key",
    "sessions": "sessions-key",
    "fingerprints": "fingerprints-key",
    "tokens": "gateway-key.pem",
}
"""Key → its file below the state folder, if the configuration gives no other."""
_TITLES: Final[dict[Name, str]] = {
    "chain": "the journal's key",
    "sessions": "the key of sessions",
    "fingerprints": "the key of fingerprints",
    "tokens": "the gateway's key",
}


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """All keys of one gateway."""

    chain: bytes
    sessions: bytes
    fingerprints: bytes
    tokens: ECKey

    @property
    def access(self) -> ECKey:
        """Return the key of access tokens for upstreams. Agents hold task tokens, so no task token may verify under
        this key."""
        return _access(self.tokens)

    @property
    def snapshots(self) -> bytes:
        """Return the key of snapshots. Snapshots hold digests, and are unusable under another key of fingerprints."""
        return _snapshots(self.chain, self.fingerprints)


def load(configuration: Configuration, *, begun: bool) -> Keys:
    """Read all keys. Make each missing key unless the configuration names its file. `begun` and errors: see `read_keys`."""
    found = read_keys(configuration, begun=begun)
    for name in _SECRETS:
        if name not in found:
            file = _file(configuration, name)
            found[name] = _whole(file, file.load(partial(secrets.token_bytes, KEY_BYTES)))
    return Keys(found["chain"], found["sessions"], found["fingerprints"], _load_tokens(configuration))


def load_access(configuration: Configuration) -> ECKey:
    """Return the key of access tokens alone. Make the key of tokens if there is none. Raises `ConfigurationError`."""
    return _access(_load_tokens(configuration))


def read_keys(configuration: Configuration, *, begun: bool) -> dict[Name, bytes]:
    """Return the existing keys, and make none.

    `begun`: the journal has entries. Then a missing key of the journal or of fingerprints is lost. A new chain would
    make the journal look damaged, and with new fingerprints no task would know its credentials again. A missing file
    from the configuration is refused, since its mount may have failed. Raises `JournalError` and `ConfigurationError`.
    """
    found: dict[Name, bytes] = {}
    for name in _SECRETS:
        if (key := _read(configuration, name)) is not None:
            found[name] = key
        elif _is_given(configuration, name):
            raise _not_there(configuration, name)
        elif begun and name != "sessions":
            raise _make_lost_error(configuration, name)
    if _is_given(configuration, "tokens") and _file(configuration, "tokens").load_key() is None:
        raise _not_there(configuration, "tokens")
    for one, other in combinations(found, 2):
        if found[one] == found[other]:
            raise ConfigurationError(
                f"the keys {one} and {other} are the same", "make each with: openssl rand -base64 32"
            )
    return found


def read_chain(configuration: Configuration) -> bytes | None:
    """Return the journal's key, `None` if there is none. Raises `JournalError`."""
    return _read(configuration, "chain")


def read_snapshots(configuration: Configuration) -> bytes | None:
    """Return the key of snapshots, `None` without a key of the chain or of fingerprints. Raises `GatewayError`."""
    chain, fingerprints = _read(configuration, "chain"), _read(configuration, "fingerprints")
    return None if chain is None or fingerprints is None else _snapshots(chain, fingerprints)


def _load_tokens(configuration: Configuration) -> ECKey:
    tokens = _file(configuration, "tokens")
    remedy = "put it back from a copy, or delete it: open tasks end with it"
    return signing_keys.load(tokens.path, tokens.what, remedy=remedy)


def _access(tokens: ECKey) -> ECKey:
    return signing_keys.derive(tokens, "access tokens")


def _read(configuration: Configuration, name: Name) -> bytes | None:
    file = _file(configuration, name)
    content = file.load_key()
    return None if content is None else _whole(file, content)


def _make_lost_error(configuration: Configuration, name: Name) -> GatewayError:
    file = _file(configuration, name)
    return JournalError(
        f"{configuration.journal.path} was written with a key that is not there: {file.path}",
        "put it back from a copy; to go on without, move the journal folder away and delete the state's history folder",
    )


def _not_there(configuration: Configuration, name: Name) -> GatewayError:
    file = _file(configuration, name)
    return file.failure(f"keys.{name} names {file.path}, and there is no such file", "put the key there")


def _file(configuration: Configuration, name: Name) -> KeyFile:
    failure: type[GatewayError] = JournalError if name == "chain" else ConfigurationError
    path = getattr(configuration.keys, name) or configuration.state / FILES[name]
    return KeyFile(path, _TITLES[name], failure)


def _is_given(configuration: Configuration, name: Name) -> bool:
    return getattr(configuration.keys, name) is not None


def _whole(file: KeyFile, content: bytes) -> bytes:
    if len(content) == KEY_BYTES:
        return content
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise file.failure(
            f"{file.what} {file.path} is damaged: it has to be {KEY_BYTES} bytes, or those in base64",
            "put it back from a copy",
        )
    return key


def _snapshots(chain: bytes, fingerprints: bytes) -> bytes:
    return subkey(chain, f"history {key_id(fingerprints)}")
