"""The checks of TLS files, and of the number of files that a gateway may open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.model.errors import ConfigurationError
from gateway.wire.http.capacity import find_room
from gateway.wire.http.tls_files import TlsFiles, describe_time, serve_tls, trust_authorities

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Configuration


class FileFinding(NamedTuple):
    """A finding about files. `what` names the place in the configuration."""

    state: Literal["ok", "warn", "fail"]
    what: str
    found: str
    remedy: str = ""


def look(settings: Configuration) -> Iterator[FileFinding]:
    """Yield the state of the TLS files, and whether the limits fit into the open files of a process."""
    try:
        yield FileFinding("ok", "open files", f"room for {find_room(settings)} connections of clients")
    except ConfigurationError as error:
        yield FileFinding("fail", "open files", error.message, error.remedy)
    for place, load in _list_files(settings):
        try:
            files = load()
        except ConfigurationError as error:
            yield FileFinding("fail", place, error.message, error.remedy)
        else:
            yield _describe_validity(files)


def _list_files(settings: Configuration) -> Iterator[tuple[str, Callable[[], TlsFiles]]]:
    if settings.tls is not None:
        yield "tls", partial(serve_tls, settings.tls)
    places = {f"upstreams.{name}.ca": upstream.ca for name, upstream in settings.upstreams.items()}
    if settings.policy.engine.kind == "opa":
        places["policy.engine.ca"] = settings.policy.engine.ca
    for place, path in places.items():
        if path is not None:
            yield place, partial(trust_authorities, place, path)


def _describe_validity(files: TlsFiles) -> FileFinding:
    now, validity = time.time(), files.material.validity
    if validity is None:
        return FileFinding("ok", files.place, "it can be used")
    if files.explain_end(now) is not None:
        return FileFinding("fail", files.place, f"{validity.path} has expired", "renew the certificate")
    until = f"{validity.path} is valid until {describe_time(validity.until)}"
    if validity.ends_soon(now):
        return FileFinding("warn", files.place, until, "renew the certificate soon")
    return FileFinding("ok", files.place, until)
