"""The gateway's keys, each for one purpose: files that the configuration gives, or made below the state folder.

| key | for | shared by the gateways of a deployment |
|---|---|---|
| `chain` | the links of the journal | never: its reader can forge the record |
| `sealing` | the seal of durable records and of snapshots of history | yes, if they share records |
| `sessions` | session ids of the handshake era, and states of waiting calls | yes |
| `fingerprints` | digests of arguments, results, words and credentials | yes |
| `tokens` | signatures of task tokens (P-256, PEM); the key of access tokens is derived from it | yes |

All but the last are 32 random bytes, as they are or in base64. Two keys with the same bytes are refused. An earlier key is
in a file beside the present one (`NAME.1`, see `key_files`): it still reads, and writes nothing.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Final, Literal

from gateway.base.keys import signing_keys
from gateway.base.keys.key_files import KeyFile
from gateway.base.keys.key_ring import KeyRing, SigningKey, derive_ring, key_id
from gateway.base.store.sqlite import read_form
from gateway.model.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Configuration
    from gateway.model.errors import GatewayError

Name = Literal["chain", "sealing", "sessions", "fingerprints", "tokens"]

KEY_BYTES: Final = 32
SECRETS: Final[tuple[Name, ...]] = ("chain", "sealing", "sessions", "fingerprints")
ROTATED: Final[tuple[Name, ...]] = ("chain", "sealing", "sessions", "tokens")
"""Keys that may be replaced. Digests under another key of fingerprints are of no use: tasks would forget what they know."""
RECORDS: Final = "records.db"
"""The file of durable records, below the state folder."""
SNAPSHOTS: Final = "history"
"""The folder of snapshots, below the state folder."""
OVERLAP: Final = 600.0
"""Seconds for which a new key of tokens is published before it signs: twice the life of a cached key set."""
_SEALED: Final = 2
"""The first form of durable records under a key of their own. The journal's key sealed those before."""
FILES: Final[dict[Name, str]] = {
    "chain": "journal-key",
    "sealing": "sealing-key",
    "sessions": "sessions-key",
    "fingerprints": "fingerprints-key",
    "tokens": "gateway-key.pem",
}
"""Key → its file below the state folder, if the configuration gives no other."""
_TITLES: Final[dict[Name, str]] = {
    "chain": "the journal's key",
    "sealing": "the key of durable records",
    "sessions": "the key of sessions",
    "fingerprints": "the key of fingerprints",
    "tokens": "the gateway's key",
}
_TOKENS_REMEDY: Final = "put it back from a copy, or delete it: open tasks end with it"


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """All keys of one gateway. `access` signs tokens for upstreams: agents hold task tokens, so no task token may verify under
    it. `snapshots` depends on the key of fingerprints, since snapshots hold digests."""

    chain: KeyRing[bytes]
    sealing: KeyRing[bytes]
    sessions: KeyRing[bytes]
    fingerprints: bytes
    tokens: KeyRing[SigningKey]
    access: KeyRing[SigningKey] = field(init=False)
    snapshots: KeyRing[bytes] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "access", self.tokens.map(_access))
        object.__setattr__(self, "snapshots", _snapshots(self.sealing, self.fingerprints))


def load(configuration: Configuration, *, begun: bool) -> Keys:
    """Read all keys. Make each missing key unless the configuration names its file. `begun` and errors: see `read_keys`."""
    found = read_keys(configuration, begun=begun)
    if "sealing" not in found and "chain" in found and _has_sealed(configuration):
        # The chain's key sealed the records of the release before.
        find_file(configuration, "sealing").add_earlier(found["chain"][0])
    for name in SECRETS:
        if name not in found:
            file = find_file(configuration, name)
            made = whole_key(file, file.load(partial(secrets.token_bytes, KEY_BYTES)))
            found[name] = (made, *_read_earlier(file))
    rings = {name: KeyRing(*found[name]) for name in SECRETS}
    return Keys(
        rings["chain"], rings["sealing"], rings["sessions"], found["fingerprints"][0], _load_tokens(configuration)
    )


def load_access(configuration: Configuration) -> KeyRing[SigningKey]:
    """Return the keys of access tokens alone. Make the key of tokens if there is none. Raises `ConfigurationError`."""
    return _load_tokens(configuration).map(_access)


def reload(configuration: Configuration, keys: Keys) -> None:
    """Take over the keys that the files have now, all or none. Raises `GatewayError`, also for another key of fingerprints."""
    found = read_keys(configuration, begun=True)
    for name in SECRETS:
        if name not in found:
            raise _not_there(configuration, name)
    if found["fingerprints"][0] != keys.fingerprints:
        raise ConfigurationError(
            "the key of fingerprints has changed, and tasks would forget what they know", "put the former key back"
        )
    tokens = _load_tokens(configuration)
    rings: dict[Name, KeyRing[bytes]] = {"chain": keys.chain, "sealing": keys.sealing, "sessions": keys.sessions}
    for name, ring in rings.items():
        ring.renew(found[name])
    keys.tokens.renew(tokens.keys)


def rotate(configuration: Configuration, name: Name) -> Path:
    """Replace a key by a new key. Return the file of the replaced key. Raises `GatewayError`."""
    file = find_file(configuration, name)
    if file.load_key() is None:
        raise _not_there(configuration, name)
    return file.rotate(signing_keys.make_pem() if name == "tokens" else secrets.token_bytes(KEY_BYTES)).path


def read_keys(configuration: Configuration, *, begun: bool) -> dict[Name, tuple[bytes, ...]]:
    """Return the existing keys, the newest of each first, and make none.

    `begun`: the journal has entries. Then a missing key of the journal or of fingerprints is lost. A new chain would
    make the journal look damaged, and with new fingerprints no task would know its credentials again. A missing file
    from the configuration is refused, since its mount may have failed. Raises `JournalError`, `ConfigurationError` and
    `StoreError`.
    """
    found: dict[Name, tuple[bytes, ...]] = {}
    for name in SECRETS:
        if keys := _read(configuration, name):
            found[name] = keys
        elif _is_given(configuration, name):
            raise _not_there(configuration, name)
        elif begun and name in {"chain", "fingerprints"}:
            raise _make_lost_error(configuration, name)
        elif name == "sealing" and read_form(configuration.state / RECORDS) >= _SEALED:
            raise _make_unsealed_error(configuration)
    if _is_given(configuration, "tokens") and find_file(configuration, "tokens").load_key() is None:
        raise _not_there(configuration, "tokens")
    for one, other in combinations(found, 2):
        if found[one][0] == found[other][0]:
            raise ConfigurationError(
                f"the keys {one} and {other} are the same", "make each with: openssl rand -base64 32"
            )
    return found


def read_chain(configuration: Configuration) -> tuple[bytes, ...] | None:
    """Return the journal's keys, the newest first, `None` if there is none. Raises `JournalError`."""
    return _read(configuration, "chain") or None


def read_peer_chain(path: Path) -> tuple[bytes, ...]:
    """Return the keys of another gateway's journal, the newest first. Raises `JournalError`, also without the file."""
    found = _read_file(KeyFile(path, _TITLES["chain"], JournalError))
    if not found:
        raise JournalError(f"there is no key of a journal in {path}", "look at `journal.peers`")
    return found


def read_sealing(configuration: Configuration) -> KeyRing[bytes] | None:
    """Return the keys of durable records, those of the release before included. Raises `GatewayError`."""
    found = _read(configuration, "sealing") or _read(configuration, "chain")
    return KeyRing(*found) if found else None


def read_fingerprints(configuration: Configuration) -> bytes | None:
    """Return the key of fingerprints, `None` if there is none. Raises `ConfigurationError`."""
    return next(iter(_read(configuration, "fingerprints")), None)


def read_snapshots(configuration: Configuration) -> KeyRing[bytes] | None:
    """Return the keys of snapshots, `None` without a key of records or of fingerprints. Raises `GatewayError`."""
    sealing, fingerprints = read_sealing(configuration), _read(configuration, "fingerprints")
    return None if sealing is None or not fingerprints else _snapshots(sealing, fingerprints[0])


def find_file(configuration: Configuration, name: Name) -> KeyFile:
    """Return the file of a key."""
    failure: type[GatewayError] = JournalError if name == "chain" else ConfigurationError
    path = getattr(configuration.keys, name) or configuration.state / FILES[name]
    return KeyFile(path, _TITLES[name], failure)


def _load_tokens(configuration: Configuration) -> KeyRing[SigningKey]:
    file = find_file(configuration, "tokens")
    newest = signing_keys.load(file.path, file.what, remedy=_TOKENS_REMEDY)
    earlier = file.find_earlier()
    found = [(file, newest)]
    for each in earlier:
        pem = each.load_key() or b""
        found.append((each, signing_keys.read_pem(pem, each.path, each.what, f"delete it, or {_TOKENS_REMEDY}")))
    known: dict[str, SigningKey] = {}
    for each, key in found:
        known.setdefault(key.thumbprint(), SigningKey(key, each.read_since() + OVERLAP))
    return KeyRing(*known.values())


def _access(key: SigningKey) -> SigningKey:
    return SigningKey(signing_keys.derive(key.key, "access tokens"), key.since)


def _read(configuration: Configuration, name: Name) -> tuple[bytes, ...]:
    return _read_file(find_file(configuration, name))


def _read_file(file: KeyFile) -> tuple[bytes, ...]:
    content = file.load_key()
    return () if content is None else tuple(dict.fromkeys((whole_key(file, content), *_read_earlier(file))))


def _read_earlier(file: KeyFile) -> tuple[bytes, ...]:
    return tuple(whole_key(each, each.load_key() or b"") for each in file.find_earlier())


def _has_sealed(configuration: Configuration) -> bool:
    """Return whether the state folder has sealed records."""
    return (configuration.state / RECORDS).exists() or (configuration.state / SNAPSHOTS).exists()


def _make_unsealed_error(configuration: Configuration) -> GatewayError:
    return find_file(configuration, "sealing").failure(
        f"{configuration.state / RECORDS} is sealed with a key that is not there: {find_file(configuration, 'sealing').path}",
        "put it back from a copy; to go on without its leases, stops and ended logins: opagate journal state forget all",
    )


def _make_lost_error(configuration: Configuration, name: Name) -> GatewayError:
    file = find_file(configuration, name)
    return JournalError(
        f"{configuration.journal.path} was written with a key that is not there: {file.path}",
        "put it back from a copy; to go on without, move the journal folder away and delete the state's history folder",
    )


def _not_there(configuration: Configuration, name: Name) -> GatewayError:
    file = find_file(configuration, name)
    is_given = _is_given(configuration, name)
    named = f"keys.{name} names {file.path}, and" if is_given else f"{file.what} belongs at {file.path}, and"
    return file.failure(f"{named} there is no such file", "put the key there")


def _is_given(configuration: Configuration, name: Name) -> bool:
    return getattr(configuration.keys, name) is not None


def whole_key(file: KeyFile, content: bytes) -> bytes:
    """Return the 32 bytes in a file's content. Raises `GatewayError`."""
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


def _snapshots(sealing: KeyRing[bytes], fingerprints: bytes) -> KeyRing[bytes]:
    return derive_ring(sealing, f"history {key_id(fingerprints)}")
