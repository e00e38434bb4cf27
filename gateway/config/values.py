"""Types of settings, with the checks of their texts."""

from __future__ import annotations

import base64
import math
import os
import re
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo

from gateway.model.errors import ConfigurationError
from gateway.model.wire import find_problem_of_added

if TYPE_CHECKING:
    from collections.abc import Mapping


_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|kB|MB|GB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 100 * 365 * 86400.0
"""Seconds that can still be added to a date."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Settings(BaseModel):
    """The base of every section: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


def _size(value: object) -> object:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{shorten(value)} is not a size; write it like 4MiB or 512KiB")
        return int(match[1]) * _SIZE_UNITS[match[2]]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("it is not a size; write it like 4MiB or 512KiB")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _duration(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{shorten(value)} is not a duration; write it like 250ms, 5s or 10m")
        seconds = float(match[1]) * _DURATION_UNITS[match[2]]
        if seconds > _LONGEST:
            raise ValueError(f"{shorten(value)} is longer than a gateway can wait")
        return timedelta(seconds=seconds)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        raise ValueError(f"{value!r} has no unit; write it like {value}s")
    if not isinstance(value, timedelta):
        raise ValueError("it is not a duration; write it like 250ms, 5s or 10m")  # noqa: TRY004 - pydantic reports ValueError
    return value


class UnresolvedSecret(SecretStr):
    """A secret missing from the environment of this command. Only the use of its value raises `ConfigurationError`."""

    def __init__(self, problem: str) -> None:
        super().__init__("")
        self._problem = problem

    def get_secret_value(self) -> str:
        raise ConfigurationError(self._problem, "set it, or name another source, in the configuration")


class FileSecret(SecretStr):
    """A secret from a file. No server may read the file."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self.path = path


def _secret(value: object, info: ValidationInfo) -> object:
    """Return the text of a secret. A context with `secrets: False` leaves a missing secret unresolved."""
    if not isinstance(value, str):
        raise ValueError("a secret is written as ${NAME} or file:PATH")  # noqa: TRY004 - pydantic reports ValueError
    if not value.startswith("file:") and _VARIABLE.fullmatch(value) is None:
        raise ValueError("a literal secret is refused; write ${NAME} for an environment variable or file:PATH")
    try:
        return _resolve(value, info)
    except ValueError as error:
        if info.context and not info.context.get("secrets", True):
            return UnresolvedSecret(str(error))
        raise


def _resolve(value: str, info: ValidationInfo) -> str | FileSecret:
    if value.startswith("file:"):
        path = _base(info) / _interpolate(value.removeprefix("file:"))
        try:
            return FileSecret(path.read_text(encoding="utf-8").strip(), path)
        except OSError as error:
            raise ValueError(f"the secret file {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ValueError(f"the secret file {path} is not UTF-8") from None
    return _interpolate(value)


_taken_out: dict[str, str] = {}


def keep_variable(name: str, value: str) -> None:
    """Keep a variable for later readings of the file, before the process takes the variable out of its environment."""
    _taken_out[name] = value


def _interpolate(value: str) -> str:
    def lookup(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], _taken_out.get(match[1]))
        if found is None:
            raise ValueError(f"the environment variable {match[1]} is not set")
        return found

    return _VARIABLE.sub(lookup, value)


def _text(value: object) -> object:
    return _without_nul(_interpolate(value)) if isinstance(value, str) else value


def _plain(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else _text(value)


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("it has a NUL character, which nothing outside of this file can be named with")
    return value


def _path(value: object, info: ValidationInfo) -> object:
    if value == "":
        raise ValueError("it is empty; give it a value")
    if isinstance(value, str | Path):
        return _base(info) / Path(_without_nul(_interpolate(str(value)))).expanduser()
    return value


def _location(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    text = _without_nul(_interpolate(value))
    if text.startswith("file:"):
        return f"file:{_base(info) / Path(text.removeprefix('file:')).expanduser()}"
    if text.startswith("https://") or is_local_http(text):
        return text
    raise ValueError("it is no place for keys; write file:PATH or https://… (http:// only on loopback)")


def _base(info: ValidationInfo) -> Path:
    context = cast("Mapping[str, Any] | None", info.context)
    return context["base"] if context else Path()


_SizeText = Annotated[str, Field(pattern=rf"^\s*{_SIZE.pattern}\s*$")]
_DurationText = Annotated[str, Field(pattern=rf"^\s*{_DURATION.pattern}\s*$")]
_SecretText = Annotated[str, Field(pattern=rf"^(file:.+|{_VARIABLE.pattern})$")]

Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=int | _SizeText), Field(gt=0)]
"""Bytes, written as `4MiB`."""
Duration = Annotated[
    timedelta, BeforeValidator(_duration, json_schema_input_type=_DurationText), Field(gt=timedelta(0))
]
"""Written as `250ms`, `5s`, `10m`."""
Delay = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=_DurationText), Field(ge=timedelta(0))]
"""Written as a duration; `0s` is one."""
Secret = Annotated[SecretStr, BeforeValidator(_secret, json_schema_input_type=_SecretText)]
"""Written as `${NAME}` or `file:PATH`, never as itself; the path may have `${NAME}` in it."""
Text = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
"""`${NAME}` in it is replaced from the environment."""
PlainText = Annotated[str, BeforeValidator(_plain)]
"""A `Text` that may be empty, or be written as a number."""
Count = Annotated[int, Field(strict=True)]
"""`yes` is none, though Python would count it as 1."""
FilePath = Annotated[Path, BeforeValidator(_path)]
"""Relative to the configuration file's folder."""

KeyLocation = Annotated[str, BeforeValidator(_location)]
"""`file:PATH` (relative to the configuration file's folder), or `https://…`; `http://` only on loopback."""


def written_duration(value: timedelta) -> str:
    """Return a duration as the configuration has it, such as `5m`."""
    seconds = value.total_seconds()
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"


def shorten(value: str) -> str:
    """Return a value in a sentence for people."""
    return repr(value if len(value) <= 80 else f"{value[:77]}...")


def is_local_http(url: str) -> bool:
    """Return whether a URL is plain HTTP to this machine."""
    return url[:5].lower() == "http:" and is_loopback(hostname(url))


def hostname(url: str) -> str:
    """Return the host of a URL, empty without a host. Text before an `@` is a user, not the host."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_private(host: str) -> bool:
    """Return whether an address belongs to a private network (RFC 1918, RFC 4193)."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _PRIVATE if network.version == mapped.version)


_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or address, is this machine."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


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
