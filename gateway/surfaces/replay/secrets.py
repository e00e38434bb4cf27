"""`{{secret:name}}` in a trace → a made-up value in the form of a real secret, so no secret is ever committed. Pure.
The first word of the name is the kind: `github`, `github-2` and `github-of-ana` are three GitHub tokens. The same name
is the same value throughout a trace, and another in another trace. The values are made from their names: none opens
anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
import string
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from gateway.model.wire import Json

_MARK: Final = re.compile(
    r"\{\{secret:(?P<name>[a-z][a-z0-9-]{0,63})(?::(?P<form>[a-z0-9]+))?\}\}"
    r"|(?P<braces>\{\{braces\}\})"
    r"|(?:\{\{\s*secrets?\s*:|(?<!\$)\{\{\s*secret)"
)
"""A place, the escape, or the beginning of a misspelt place. `${{ secrets.NAME }}` is none: workflows of GitHub have it."""
_ALPHANUMERIC: Final = string.ascii_letters + string.digits
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase


class UnknownSecret(ValueError):
    """An unfillable place; the text gives the reason."""


def fill(value: Json, trace: str) -> Json:
    """Return the value with every `{{secret:…}}` and `{{braces}}` in its texts replaced. Raises `UnknownSecret`."""
    if isinstance(value, str):
        return _fill_text(value, trace) if "{{" in value else value
    if isinstance(value, Mapping):
        return {name: fill(member, trace) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, trace) for item in value]
    return value


def _fill_text(text: str, trace: str) -> str:
    def meant(mark: re.Match[str]) -> str:
        if mark["braces"] is not None:
            return "{{"
        if mark["name"] is None:
            raise UnknownSecret(
                "write secrets like {{secret:name}} or {{secret:name:base64}}, in small letters; "
                "for two braces that begin no secret, write {{braces}}"
            )
        return _in_form(secret(trace, mark["name"]), mark["form"])

    return _MARK.sub(meant, text)


def escape_braces(text: str) -> str:
    """Return the form of a text in a trace; `fill` makes the text again."""
    return text.replace("{{", "{{braces}}")


def secret(trace: str, name: str) -> str:
    """Return the value of a name in a trace."""
    kind = name if name in _KINDS else name.partition("-")[0]
    stream = _SeededBytes(f"{trace}\n{name}")
    return _KINDS.get(kind, _plain)(stream)


def _in_form(value: str, form: str | None) -> str:
    if form is None:
        return value
    made = _FORMS.get(form)
    if made is None:
        raise UnknownSecret(f"{form!r} is no form of a secret; use one of {', '.join(sorted(_FORMS))}")
    return made(value)


_FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "percent": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "hex": lambda value: value.encode().hex(),
    "half1": lambda value: value[: len(value) // 2],
    "half2": lambda value: value[len(value) // 2 :],
}


class _SeededBytes:
    """Bytes from a seed alone."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode("utf-8", "surrogatepass")
        self._block = 0
        self._left = b""

    def take(self, length: int) -> bytes:
        while len(self._left) < length:
            self._left += hashlib.sha256(self._seed + self._block.to_bytes(4, "big")).digest()
            self._block += 1
        taken, self._left = self._left[:length], self._left[length:]
        return taken

    def text(self, length: int, alphabet: str = _ALPHANUMERIC) -> str:
        return "".join(alphabet[byte % len(alphabet)] for byte in self.take(length))


def _plain(stream: _SeededBytes) -> str:
    return stream.text(40)


def _with_checksum(prefix: str) -> Callable[[_SeededBytes], str]:
    """Return a token in GitHub's and npm's form: 30 characters and their CRC-32 in base 62 (GitHub blog, "Behind
    GitHub's new authentication token formats", 2021)."""

    def made(stream: _SeededBytes) -> str:
        body = stream.text(30)
        left, checksum = zlib.crc32(body.encode()), ""
        while left:
            left, digit = divmod(left, 62)
            checksum = _BASE62[digit] + checksum
        return f"{prefix}{body}{checksum:0>6}"

    return made


def _uuid(stream: _SeededBytes) -> str:
    digits = stream.take(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _password(stream: _SeededBytes) -> str:
    return f"{stream.text(6)}!{stream.text(6)}-{stream.text(1, string.digits)}{stream.text(3)}"


def _slack(stream: _SeededBytes) -> str:
    numbers = "-".join(stream.text(1, "123456789") + stream.text(11, string.digits) for _ in range(2))
    return f"xoxb-{numbers}-{stream.text(24)}"


def _jwt(stream: _SeededBytes) -> str:
    parts = (
        b'{"alg":"HS256","typ":"JWT"}',
        f'{{"iss":"supabase","ref":"{stream.text(20, string.ascii_lowercase)}","role":"service_role"}}'.encode(),
        stream.take(32),
    )
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _pem(stream: _SeededBytes) -> str:
    body = base64.b64encode(b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none" + stream.take(400)).decode()
    lines = [body[at : at + 70] for at in range(0, len(body), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----"])


_KINDS: Final[Mapping[str, Callable[[_SeededBytes], str]]] = {
    "aws": lambda stream: "AKIA" + stream.text(16, string.ascii_uppercase + "234567"),
    "aws-secret": lambda stream: stream.text(40, _ALPHANUMERIC + "+/"),
    "github": _with_checksum("ghp_"),
    "google": lambda stream: "ya29." + stream.text(160, _ALPHANUMERIC + "-_"),
    "jwt": _jwt,
    "npm": _with_checksum("npm_"),
    "openai": lambda stream: f"sk-{stream.text(20)}T3BlbkFJ{stream.text(20)}",
    "otp": lambda stream: stream.text(6, string.digits),
    "password": _password,
    "pem": _pem,
    "pypi": lambda stream: "pypi-AgEIcHlwaS5vcmc" + stream.text(150, _ALPHANUMERIC + "-_"),
    "railway": _uuid,
    "slack": _slack,
    "stripe": lambda stream: "sk_live_" + stream.text(24),
    "supabase": _jwt,
    "vercel": lambda stream: stream.text(24),
}
