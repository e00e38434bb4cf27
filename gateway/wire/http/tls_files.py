"""TLS files kept in force: a certificate with its key, or certificate authorities, looked at again and again.

Changed files come into force as a whole, once they have been still for one look. Files that cannot be used stay out, such as a
certificate beside the key of another one. Then `problem` says why, and the files before stay in force. Connections keep the
context with which they began.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from gateway.base.concurrency.background import in_thread
from gateway.base.file_access import FileMarks, mark_files
from gateway.config import TlsSettings
from gateway.model.errors import ConfigurationError

log = structlog.get_logger("gateway.transport")

WARNED_SECONDS: Final = 14 * 86_400.0
"""Before the end of a certificate, at which people are warned. Of a short-lived one the last third is enough."""
_SHARE: Final = 3


class Validity(Struct, frozen=True):
    """The validity of certificates, in seconds since the epoch. `path` is the file with the earliest end."""

    path: Path
    since: float
    until: float

    def ends_soon(self, now: float) -> bool:
        """Return whether people should renew the certificates."""
        return self.until - now < min(WARNED_SECONDS, (self.until - self.since) / _SHARE)


class TlsMaterial(Struct, frozen=True):
    """The contents of TLS files: a context for new connections, and the time in which its certificates hold."""

    context: ssl.SSLContext
    validity: Validity | None


class TlsFiles:
    """The files of one place in the configuration. `place` names it for people.

    The gateway shows the certificate `shown`: an expired one does not replace a valid one. Expired authorities do replace valid
    ones. So nobody is trusted for longer than the files say.
    """

    def __init__(
        self,
        place: str,
        paths: tuple[Path, ...],
        load: Callable[[], TlsMaterial],
        *,
        shown: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Load for the first time. Raises `ConfigurationError`."""
        self.place = place
        self.problem: str | None = None
        """Why changed files stay out."""
        self._paths = paths
        self._load = load
        self._shown = shown
        self._clock = clock
        self._loaded: FileMarks = mark_files(paths)
        self._seen = self._loaded
        self.material = load()

    @property
    def context(self) -> ssl.SSLContext:
        return self.material.context

    async def look(self) -> bool:
        """Look at the files once. Return whether changed files came into force."""
        seen = await in_thread(partial(mark_files, self._paths))
        is_still, self._seen = seen == self._seen, seen
        if seen == self._loaded or not is_still:
            return False
        try:
            material = await in_thread(self._load)
            if await in_thread(partial(mark_files, self._paths)) != seen:
                return False
            self._require_life(material)
        except ConfigurationError as error:
            self._loaded = seen
            self.problem = f"{error.message}; {error.remedy}; the files before stay in force"
            return False
        self.material, self.problem, self._loaded = material, None, seen
        return True

    def _require_life(self, material: TlsMaterial) -> None:
        now, fresh = self._clock(), material.validity
        if fresh is None or fresh.path != self._shown or now < fresh.until or self.explain_end(now) is not None:
            return
        raise ConfigurationError(f"{fresh.path} expired at {describe_time(fresh.until)}", "give one that is valid")

    def explain_end(self, now: float) -> str | None:
        """Return a sentence for people if the certificates have expired."""
        validity = self.material.validity
        if validity is None or now < validity.until:
            return None
        return f"{validity.path} expired at {describe_time(validity.until)}; renew it"


def serve_tls(settings: TlsSettings) -> TlsFiles:
    """Return the files with which the gateway serves. Raises `ConfigurationError`."""
    paths = tuple(path for path in (settings.certificate, settings.key, settings.client_ca) if path is not None)
    return TlsFiles("tls", paths, partial(_load_server, settings), shown=settings.certificate)


def trust_authorities(
    place: str, path: Path, *, remedy: str = "give a PEM file of certificate authorities"
) -> TlsFiles:
    """Return the files of authorities that a client of another server trusts. Raises `ConfigurationError`."""
    return TlsFiles(place, (path,), partial(_load_authorities, place, path, remedy))


def tls_context(settings: TlsSettings, client_authorities: str | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer with the configured certificate. Client certificates are asked for, and
    verified when sent, if `client_ca` or `client_authorities` (PEM) name whom to trust. Raises `ConfigurationError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key, _refuse_password)
        if settings.client_ca is not None:
            context.load_verify_locations(cafile=settings.client_ca)
        if client_authorities:
            context.load_verify_locations(cadata=client_authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be used: {error}", "check tls.certificate, tls.key and tls.client_ca"
        ) from error
    if settings.client_ca is not None or client_authorities:
        context.verify_mode = ssl.CERT_OPTIONAL
        # A session that is taken up again knows the client's own certificate only, and not what vouches for it.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


def _refuse_password() -> str:
    """Refuse an encrypted key. OpenSSL would ask the terminal, and wait there."""
    raise ConfigurationError("the key in tls.key is encrypted", "give a key without a password")


def describe_time(moment: float) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _load_server(settings: TlsSettings) -> TlsMaterial:
    context = tls_context(settings)
    found = _read_chain(settings.certificate)
    if settings.client_ca is not None:
        authorities = _read_authorities(context, settings.client_ca)
        found = authorities if found is None or (authorities and authorities.until < found.until) else found
    return TlsMaterial(context, found)


def _load_authorities(place: str, path: Path, remedy: str) -> TlsMaterial:
    try:
        context = ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{place}: {path} cannot be used: {error}", remedy) from error
    context.set_alpn_protocols(["http/1.1"])
    return TlsMaterial(context, _read_authorities(context, path))


def _read_chain(path: Path) -> Validity | None:
    """Return the time in which all certificates of a chain hold."""
    from cryptography import x509  # noqa: PLC0415 - it takes memory, for gateways with TLS

    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be used: {path}: {error}", "check tls.certificate, tls.key and tls.client_ca"
        ) from error
    first = min(chain, key=lambda each: each.not_valid_after_utc)
    return Validity(path, first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp())


def _read_authorities(context: ssl.SSLContext, path: Path) -> Validity | None:
    """Return the time in which at least one authority holds: a file of many may have old ones."""
    times = [
        (ssl.cert_time_to_seconds(str(found["notAfter"])), ssl.cert_time_to_seconds(str(found["notBefore"])))
        for found in context.get_ca_certs()
        if "notAfter" in found and "notBefore" in found
    ]
    until, since = max(times, default=(0, 0))
    return Validity(path, float(since), float(until)) if times else None


class TlsWatch:
    """The TLS files of a gateway, looked at together. `needed` are files without which no call works."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.files: list[TlsFiles] = []
        self._needed: list[TlsFiles] = []
        self._adopted: list[tuple[TlsFiles, Callable[[ssl.SSLContext], None]]] = []
        self._clock = clock
        self._told: dict[str, str] = {}

    def add(
        self, files: TlsFiles, *, needed: bool = False, adopt: Callable[[ssl.SSLContext], None] | None = None
    ) -> None:
        """Look at these files too. `adopt` takes each context that comes into force."""
        self.files.append(files)
        if needed:
            self._needed.append(files)
        if adopt is not None:
            self._adopted.append((files, adopt))

    def remove(self, files: TlsFiles) -> None:
        """Look at these files no more."""
        self.files = [each for each in self.files if each is not files]

    async def look(self) -> None:
        """Look at all files once, and log news."""
        for files in tuple(self.files):
            if await files.look():
                log.info("tls.loaded", place=files.place, until=_until(files))
                for watched, adopt in self._adopted:
                    if watched is files:
                        adopt(files.context)
            self._log_changes(files)

    def problems(self) -> dict[str, str]:
        """Return the problems that keep the gateway from serving: place → sentence for people."""
        now = self._clock()
        return {files.place: end for files in self._needed if (end := files.explain_end(now)) is not None}

    def seconds_left(self) -> dict[tuple[str, str], float]:
        """Return the seconds until certificates expire, by their place and the file that ends first."""
        now = self._clock()
        return {
            (files.place, str(validity.path)): validity.until - now
            for files in self.files
            if (validity := files.material.validity) is not None
        }

    def _log_changes(self, files: TlsFiles) -> None:
        """Log the problem of files, or the end of their certificates. Each state is logged once."""
        now, validity = self._clock(), files.material.validity
        expired = files.explain_end(now)
        soon = validity is not None and validity.ends_soon(now)
        state = f"{files.problem} {expired} {soon} {_until(files)}"
        if state == self._told.get(files.place):
            return
        self._told[files.place] = state
        if files.problem is not None:
            log.error("tls.kept-out", place=files.place, problem=files.problem)
        if expired is not None:
            log.error("tls.expired", place=files.place, problem=expired)
        elif soon and validity is not None:
            log.warning("tls.expires-soon", place=files.place, file=str(validity.path), until=_until(files))


def _until(files: TlsFiles) -> str | None:
    validity = files.material.validity
    return None if validity is None else describe_time(validity.until)
