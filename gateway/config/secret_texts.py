"""The secrets of a configuration, each with its place and with the system that it is for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import BaseModel, SecretStr

from gateway.config.credentials import HeaderCredential

if TYPE_CHECKING:
    from gateway.config.settings import Configuration


class SecretText(NamedTuple):
    """A secret text. `audience` is the system of its upstream, `None` if the gateway itself uses it."""

    place: str
    audience: str | None
    text: str

    def __repr__(self) -> str:
        return f"SecretText({self.place})"


def secret_texts(configuration: Configuration) -> Iterator[SecretText]:
    """Yield each secret of a configuration."""
    for name, upstream in configuration.upstreams.items():
        for place, text in _walk(upstream, f"upstreams.{name}"):
            yield SecretText(place, upstream.audience, text)
    for name in type(configuration).model_fields:
        if name != "upstreams":
            for place, text in _walk(getattr(configuration, name), name):
                yield SecretText(place, None, text)


def _walk(value: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, HeaderCredential):
        for text in value.secrets():
            yield f"{place}.value", text
    elif isinstance(value, SecretStr):
        yield place, value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            yield from _walk(inner, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(cast("Sequence[object]", value)):
            yield from _walk(inner, f"{place}[{number}]")
