"""The secrets of a configuration, each with its place and with the system that it is for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from gateway.config.credentials import HeaderCredential
from gateway.config.values import UnresolvedSecret

if TYPE_CHECKING:
    from gateway.config.settings import Configuration


class SecretText(NamedTuple):
    """A secret text. `audience` is the system of its upstream, `None` if the gateway itself uses it. `variable` is the name of
    a variable of a process, which may hold another thing than a secret."""

    place: str
    audience: str | None
    text: str
    variable: str | None = None

    def __repr__(self) -> str:
        return f"SecretText({self.place})"


def secret_texts(configuration: Configuration) -> Iterator[SecretText]:
    """Yield each secret of a configuration that is there: a command may lack some of the environment."""
    for name, upstream in configuration.upstreams.items():
        for place, text in _walk(upstream, f"upstreams.{name}"):
            beginning, _, variable = place.rpartition(".")
            is_variable = beginning == f"upstreams.{name}.env"
            yield SecretText(place, upstream.audience, text, variable if is_variable else None)
    if configuration.store is not None and (password := _find_password(configuration.store.url)):
        yield SecretText("store.url", None, password)
    for name in type(configuration).model_fields:
        if name != "upstreams":
            for place, text in _walk(getattr(configuration, name), name):
                yield SecretText(place, None, text)


_KEPT: Final = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR"})
"""Variables that servers and other children need."""
_LONG: Final = 8
"""Characters of a secret that stands in a longer value by no accident."""


def secret_variables(configuration: Configuration, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that hold a secret of the configuration, under the configured name or another one."""
    texts = {secret.text for secret in secret_texts(configuration)}
    long = [text for text in texts if len(text) >= _LONG]
    return tuple(
        name
        for name, value in environment.items()
        if name not in _KEPT and (value in texts or value.strip() in texts or any(text in value for text in long))
    )


def _find_password(url: SecretStr) -> str | None:
    """Return the password in an address, which may be known without the rest of the address."""
    if isinstance(url, UnresolvedSecret):
        return None
    try:
        parts = urlsplit(url.get_secret_value())
        return parse_qs(parts.query).get("password", [unquote(parts.password or "")])[-1]
    except ValueError:
        return None


def _walk(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Yield the secret texts in a value, each with its place."""
    if isinstance(value, HeaderCredential):
        if not isinstance(value.value, UnresolvedSecret):
            yield from ((f"{place}.value", text) for text in value.secrets())
    elif isinstance(value, SecretStr):
        if not isinstance(value, UnresolvedSecret):
            yield place, value.get_secret_value()
    else:
        for step, inner in _members(value):
            yield from _walk(inner, f"{place}{step}")


def _members(value: object) -> Iterator[tuple[str, object]]:
    """Yield the members of a part of a configuration, each with its step from there."""
    if isinstance(value, BaseModel):
        yield from ((f".{name}", getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        yield from ((f".{name}", inner) for name, inner in cast("Mapping[str, object]", value).items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{at}]", inner) for at, inner in enumerate(cast("Sequence[object]", value)))
