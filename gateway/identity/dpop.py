"""Proof of possession: DPoP (RFC 9449), and certificate-bound tokens (RFC 8705 section 3). The gateway verifies a proof
for every request, and accepts a proof once. The memory of used proofs lives in this process. A proof older than the
process is refused, and so is a proof perhaps accepted ahead of time by an earlier process (see `ProofWatermark`). So a
restart forgets no replayable proof.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from gateway.base.store.records import RecordKind
from gateway.identity import jose
from gateway.identity.keys import import_public
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.base.store.records import Records
    from gateway.identity.outcomes import Confirmation
    from gateway.model.caller import Credentials
    from gateway.model.wire import JsonObject

# --- used proofs -----------------------------------------------------------------------------------------


CAPACITY: Final = 100_000
"""Proofs at once, of all keys."""
SHARE: Final = 10_000
"""Proofs at once, of one key."""


class ReplayMemory:
    """`window` in seconds: how long after its first use a proof could still be accepted."""

    def __init__(self, window: float, *, capacity: int = CAPACITY, share: int = SHARE) -> None:
        self._window = window
        self._capacity = capacity
        self._share = share
        self._seen: set[tuple[str, str]] = set()
        self._order: deque[tuple[float, tuple[str, str]]] = deque()
        self._per_key: Counter[str] = Counter()

    def use(self, key: str, proof: str, now: float) -> Literal["fresh", "replayed", "full"]:
        """Note a use of `proof` by `key`. Anything but `fresh` must be refused."""
        self._forget(now)
        entry = (key, proof)
        if entry in self._seen:
            return "replayed"
        if len(self._seen) >= self._capacity or self._per_key[key] >= self._share:
            return "full"
        self._seen.add(entry)
        self._order.append((now + self._window, entry))
        self._per_key[key] += 1
        return "fresh"

    def __len__(self) -> int:
        return len(self._seen)

    def _forget(self, now: float) -> None:
        while self._order and self._order[0][0] < now:
            _, entry = self._order.popleft()
            self._seen.remove(entry)
            self._per_key[entry[0]] -= 1
            if not self._per_key[entry[0]]:
                del self._per_key[entry[0]]


# A proof that is not read could be used once more, at another gateway.
PROOFS: Final = RecordKind("used proof", float, "a proof of the last minutes could be used again")


class SharedProofs:
    """The used DPoP proofs of all gateways of one database."""

    def __init__(self, records: Records[float]) -> None:
        self._records = records

    async def use(self, proof: str, jkt: str, now: float) -> CredentialFault | None:
        """Note the use of a checked proof by the key `jkt`. Any fault must refuse it."""
        jws = jose.read_jws(proof)
        jti = None if isinstance(jws, CredentialFault) else jose.text(jws.claims.get("jti"))
        name = hashlib.sha256(f"{jkt}\n{jti}".encode()).hexdigest()
        try:
            is_first = await self._records.add(name, now, expires=now + WINDOW + 2 * LEEWAY)
        except StoreError as error:
            return CredentialFault(reasons.RECORDS_UNAVAILABLE, error.message)
        return None if is_first else CredentialFault(reasons.IDENTITY_REPLAY, "the DPoP proof was used before")

    async def expire(self) -> None:
        """Forget the proofs that are too old to be accepted again. Raises `StoreError`."""
        await self._records.expire()


# --- proofs ahead of time --------------------------------------------------------------------------------


FILE: Final = "proofs-ahead"


class ProofWatermark:
    """The mark of one state folder. An unreadable file counts as none."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self.until = self._read()

    def note(self, issued: float) -> bool:
        """Raise the mark to the time of a proof. False after a failed write; then the proof must be refused.

        Writes once a second at most.
        """
        if issued <= self.until:
            return True
        until = math.ceil(issued)
        try:
            self._write(f"{until}\n".encode())
        except OSError:
            return False
        self.until = float(until)
        return True

    def _read(self) -> float:
        try:
            return float(int(self._path.read_bytes()[:32]))
        except (OSError, ValueError):
            return 0.0

    def _write(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{FILE}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        fresh.replace(self._path)


# --- proof of possession ---------------------------------------------------------------------------------


WINDOW: Final = 60.0
"""Seconds after its `iat` that a proof is accepted."""
LEEWAY: Final = 10.0
"""Seconds that the clocks may differ."""
_TICK: Final = 1.0
"""Seconds. Times are whole in most proofs, and a process can start in the second in which the one before ended."""
_FORBIDDEN: Final = ("crit", "jku", "x5u", "x5c", "b64", "zip", "enc")
_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_PORTS: Final = {"https": 443, "http": 80}
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Possession:
    """Checks of the caller's possession of the key bound to its token."""

    def __init__(
        self, *, started: float, memory: ReplayMemory | None = None, watermark: ProofWatermark | None = None
    ) -> None:
        self._started = math.floor(started)
        self._watermark = watermark
        # Further ahead nothing was accepted, unless the clock was changed; then a proof may be younger than it was.
        self._used_until = min(watermark.until, started + LEEWAY) if watermark is not None else 0.0
        self._memory = ReplayMemory(WINDOW + 2 * LEEWAY) if memory is None else memory

    def check(
        self, credentials: Credentials, token: str, *, dpop: bool, bound_to: Confirmation | None, now: float
    ) -> CredentialFault | None:
        """`dpop`: the DPoP scheme was used. `bound_to`: the token's confirmation."""
        jkt = bound_to.jkt if bound_to else None
        if dpop != (jkt is not None):
            other = "the token is bound to a DPoP key and needs the DPoP scheme and a proof"
            return _fault(other if jkt else "the token is not bound to a DPoP key, so use the Bearer scheme")
        if jkt is None and credentials.dpop:
            return _fault("a DPoP proof came with a token that is not bound to a key")
        if bound_to and bound_to.x5t and not _certificate_matches(credentials.certificate, bound_to.x5t):
            return _fault("the token is bound to another client certificate")
        return self._check_proof(credentials, token, jkt, now) if jkt else None

    def _check_proof(self, credentials: Credentials, token: str, jkt: str, now: float) -> CredentialFault | None:
        if len(credentials.dpop) != 1:
            return _fault("there must be exactly one DPoP header")
        proof = jose.read_jws(credentials.dpop[0])
        if isinstance(proof, CredentialFault):
            return _fault("the DPoP proof is malformed")
        return (
            _check_key(proof, jkt)
            or _check_request(proof, credentials, token)
            or self._check_time(proof, now)
            or self._check_first_use(proof, jkt, now)
        )

    def _check_time(self, proof: jose.Jws, now: float) -> CredentialFault | None:
        issued = jose.number(proof.claims.get("iat"))
        if issued is None:
            return _fault("the DPoP proof has no iat")
        if not now - WINDOW - LEEWAY <= issued <= now + LEEWAY:
            return _fault("the DPoP proof is too old or from the future; compare the clocks")
        if issued < self._started or issued <= self._used_until:
            return _fault("the DPoP proof is older than this gateway's memory; make a new one")
        return None

    def _check_first_use(self, proof: jose.Jws, jkt: str, now: float) -> CredentialFault | None:
        jti = jose.text(proof.claims.get("jti"))
        if jti is None:
            return _fault("the DPoP proof has no jti")
        digest = hashlib.sha256(jti.encode()).hexdigest()
        use = self._memory.use(jkt, digest, now)
        if use == "fresh":
            return self._remember(jose.number(proof.claims.get("iat")), now)
        detail = "the DPoP proof was used before" if use == "replayed" else "too many DPoP proofs are in use; slow down"
        return CredentialFault(reasons.IDENTITY_REPLAY, detail)

    def _remember(self, issued: float | None, now: float) -> CredentialFault | None:
        if self._watermark is None or issued is None or issued <= now - _TICK or self._watermark.note(issued):
            return None
        return _fault("the DPoP proof's time cannot be remembered; the gateway cannot write its state folder")


def normalise_url(url: str) -> str | None:
    """Return a URL for comparison, `None` for other texts than http URLs. Query, fragment, default port and needless
    percent encoding are gone, and scheme and host are in lower case. Source: RFC 9449 section 4.3, RFC 3986 section
    6.2."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = f":{port}" if port not in {None, _PORTS[parts.scheme]} else ""
    return f"{parts.scheme}://{host}{shown}{_path(parts.path) or '/'}"


def thumbprint(certificate: bytes) -> str:
    """Return `x5t#S256` of a DER certificate (RFC 8705 section 3.1)."""
    return jose.encode(hashlib.sha256(certificate).digest())


def _check_key(proof: jose.Jws, jkt: str) -> CredentialFault | None:
    if proof.typ != "dpop+jwt" or proof.alg not in jose.ALGORITHMS:
        return _fault("the DPoP proof has a wrong typ or algorithm")
    jwk = proof.header.get("jwk")
    if any(name in proof.header for name in _FORBIDDEN) or not jose.is_object(jwk):
        return _fault("the DPoP proof's header is not that of a proof")
    if any(name in jwk for name in _PRIVATE):
        return _fault("the DPoP proof discloses a private key; replace that key")
    return _check_signature(proof, jwk, jkt)


def _check_signature(proof: jose.Jws, jwk: JsonObject, jkt: str) -> CredentialFault | None:
    try:
        key = import_public(jwk)
    except ValueError:
        return _fault("the DPoP proof's key is not accepted")
    if key.thumbprint() != jkt:
        return _fault("the DPoP proof is made with another key than the token is bound to")
    if not jose.suits(key, proof.alg) or not jose.signed_by(proof, key):
        return _fault("the DPoP proof's signature does not verify")
    return None


def _check_request(proof: jose.Jws, credentials: Credentials, token: str) -> CredentialFault | None:
    claims = proof.claims
    if claims.get("htm") != credentials.method:
        return _fault("the DPoP proof is for another method")
    url = normalise_url(jose.text(claims.get("htu")) or "")
    if url is None or url != normalise_url(credentials.url):
        return _fault("the DPoP proof is for another URL")
    if claims.get("ath") != jose.encode(hashlib.sha256(token.encode("ascii")).digest()):
        return _fault("the DPoP proof is for another access token")
    return None


def _certificate_matches(certificate: bytes | None, x5t: str) -> bool:
    return certificate is not None and thumbprint(certificate) == x5t


def _path(path: str) -> str:
    """Percent encoding of unreserved characters undone, the rest in upper case."""
    head, *rest = path.split("%")
    result = [head]
    for part in rest:
        decoded = unquote(f"%{part[:2]}", encoding="latin-1")
        plain = len(decoded) == 1 and decoded in _UNRESERVED
        result.append(decoded + part[2:] if plain else f"%{part[:2].upper()}{part[2:]}")
    return "".join(result)


def _fault(detail: str) -> CredentialFault:
    return CredentialFault(reasons.IDENTITY_PROOF, detail)
