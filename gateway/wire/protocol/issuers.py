"""URLs of OAuth authorization servers: the places of their metadata, and the URLs open to requests. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.config.values import is_loopback


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return the possible URLs of an issuer's metadata, in the order of the MCP specification (authorization server
    discovery)."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    urls = (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(urls))


def ssf_metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return the possible URLs of a transmitter's metadata: inserted before the path (SSF 1.0 section 7.2), and appended as Keycloak has
    it."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = (f"{origin}/.well-known/ssf-configuration{path}", f"{origin}{path}/.well-known/ssf-configuration")
    return tuple(dict.fromkeys(urls))


def is_acceptable_url(url: str) -> bool:
    """Return whether a URL is https, or http on loopback, without user information and fragment."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_downgrade(url: str, issuer: str) -> bool:
    """Return whether a URL of an issuer's metadata would leave TLS."""
    return urlsplit(url).scheme == "http" and urlsplit(issuer).scheme != "http"
