"""Types of settings with a text format: URLs, hosts, origins, names of headers and variables. Each refuses an unusable
text, and shows a valid example."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr

from gateway.config.values import Secret, Text, UnresolvedSecret, hostname, shorten
from gateway.model.wire import find_problem_of_added

_URL: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
"""Two labels at least: a top-level domain is nobody's own."""
_HOST: Final = re.compile(r"[^\s/*@,]+")
_ORIGIN: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/*@,]+|null")
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")
_FRAMING: Final = frozenset({"host", "connection", "content-length", "transfer-encoding"})


def _public_url(value: str) -> str:
    if _URL.fullmatch(value) is None or not hostname(value):
        raise ValueError("it is not an http or https URL without a user or a query; write https://gateway.example")
    return value


def _host(value: str) -> str:
    if _HOST.fullmatch(value) is None:
        raise ValueError(
            f"{shorten(value)} is no host; write gateway.example or gateway.example:8080, without a pattern"
        )
    return value


def _domain(value: str) -> str:
    domain = value.lower().rstrip(".")
    if _DOMAIN.fullmatch(domain) is None:
        raise ValueError(f"{shorten(value)} is no domain; write corp.example, which stands for all below it too")
    return domain


def _origin(value: str) -> str:
    if _ORIGIN.fullmatch(value) is None:
        raise ValueError(f"{shorten(value)} is no origin; write https://app.example, without a path or a pattern")
    return value


def _issuer(value: str) -> str:
    if value.startswith("urn:opagate:"):
        raise ValueError("issuers that begin with urn:opagate: are the gateway's own; name that of your tokens")
    return value


def _trust_domain(value: str) -> str:
    if _TRUST_DOMAIN.fullmatch(value) is None:
        raise ValueError("it is no trust domain; write it like corp.example, without spiffe://")
    return value


def _variable(value: str) -> str:
    if not value or "=" in value or "\0" in value:
        raise ValueError(f"{shorten(value)} is no name of an environment variable; write it like API_KEY")
    return value


def _header_name(value: str) -> str:
    if _HEADER.fullmatch(value) is None or value.lower() in _FRAMING:
        raise ValueError("it is no header that takes a credential; write it like authorization or X-Api-Key")
    return value


def _added_header(value: str) -> str:
    name = value.lower()
    if _HEADER.fullmatch(name) is None:
        raise ValueError("it is no name of a header; write it like X-Tenant")
    if (problem := find_problem_of_added(name)) is not None:
        raise ValueError(f"{shorten(value)} {problem}")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    if isinstance(value, UnresolvedSecret):
        return value
    text = value.get_secret_value()
    if not text.strip() or any(character in text for character in "\r\n\0"):
        raise ValueError("it is empty, or has a line break, so it cannot be sent; put the credential on one line")
    return value


PublicUrl = Annotated[Text, AfterValidator(_public_url)]
Host = Annotated[Text, AfterValidator(_host)]
Domain = Annotated[Text, AfterValidator(_domain)]
Origin = Annotated[str, AfterValidator(_origin)]
Issuer = Annotated[Text, AfterValidator(_issuer)]
TrustDomain = Annotated[str, AfterValidator(_trust_domain)]
VariableName = Annotated[str, AfterValidator(_variable)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
AddedHeader = Annotated[str, AfterValidator(_added_header)]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]


_ED25519: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of a public key (RFC 8410)."""


def ed25519_bytes(text: str) -> bytes:
    """Return the bytes of a public key in base64, as `openssl pkey -pubout` prints the key. Raise `ValueError`."""
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        found = b""
    if len(found) != len(_ED25519) + 32 or not found.startswith(_ED25519):
        raise ValueError("it is no Ed25519 public key; `openssl pkey -in KEY -pubout` prints one between two lines")
    return found.removeprefix(_ED25519)


def ed25519_text(key: bytes) -> str:
    """Return the form in the configuration of a public key."""
    return base64.b64encode(_ED25519 + key).decode()


def _plan_key(value: str) -> str:
    return ed25519_text(ed25519_bytes(value))


PlanKey = Annotated[Text, AfterValidator(_plan_key)]
