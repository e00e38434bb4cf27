"""Names at the one endpoint: each outer name says which upstream it belongs to, and gives the upstream's own name back. Pure.

An outer name depends on its upstream and its own name alone. So another upstream renames nothing, and an upstream can name
nothing of another. docs/design/0015-one-endpoint.md has the reasons.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from gateway.base.text_cache import short_text_cache
from gateway.model.wire import RequestId

SEPARATOR: Final = "__"
"""Stands between the names of an upstream and of its tool. No upstream's name has it, or ends with a part of it."""
LONGEST: Final = 64
"""Characters of a tool's name that all clients take."""
URI_SCHEME: Final = "opagate:"

_PLAIN: Final = re.compile(rf"[a-zA-Z0-9_-]{{1,{LONGEST}}}")
_DIGEST: Final = 16
_DIGESTED: Final = re.compile(rf".*_[0-9a-f]{{{_DIGEST}}}", re.DOTALL)
_STRANGE: Final = re.compile(r"[^a-zA-Z0-9_-]")


class Owned(NamedTuple):
    """A thing of an upstream, by the name that the upstream knows."""

    upstream: str
    name: str


# --- tools and prompts -----------------------------------------------------------------------------------


def outer_name(upstream: str, name: str) -> str:
    """Return the name of a tool or a prompt for clients.

    A long name, or a name with other characters, ends with a digest. So does a name with the look of a digest at its end.
    """
    return _make_name(name, upstream)


@short_text_cache(8_192)
def _make_name(name: str, upstream: str) -> str:
    plain = f"{upstream}{SEPARATOR}{name}"
    if name and _PLAIN.fullmatch(plain) and not _DIGESTED.fullmatch(plain):
        return plain
    digest = hashlib.sha256(f"{upstream}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{_STRANGE.sub('_', plain[: LONGEST - _DIGEST - 1])}_{digest}"


def resolve_name(outer: str, upstreams: Collection[str], known: Callable[[str], Iterable[str]]) -> Owned | None:
    """Return the owner of a tool's or prompt's outer name. `known` gives the names that an upstream lists.

    Of a digested name, only the listed names tell. Two that share one belong to nobody.
    """
    upstream, separator, name = outer.partition(SEPARATOR)
    if separator and upstream in upstreams and outer_name(upstream, name) == outer:
        return Owned(upstream, name)
    if len(outer) > LONGEST or not _DIGESTED.fullmatch(outer):
        return None
    found = [Owned(each, name) for each in upstreams for name in known(each) if outer_name(each, name) == outer]
    return found[0] if len(found) == 1 else None


# --- resources, handles and ids --------------------------------------------------------------------------


def outer_uri(upstream: str, uri: str) -> str:
    """Return the URI of a resource, or of a template, for clients."""
    return f"{URI_SCHEME}{upstream}:{uri}"


def resolve_uri(uri: str, upstreams: Collection[str]) -> Owned | None:
    """Return the owner of an outer URI."""
    return resolve_handle(uri.removeprefix(URI_SCHEME), upstreams) if uri.startswith(URI_SCHEME) else None


def outer_handle(upstream: str, handle: str) -> str:
    """Return an opaque text of an upstream for clients: a task, a state of a request, an elicitation, an event."""
    return f"{upstream}:{handle}"


def resolve_handle(handle: str, upstreams: Collection[str]) -> Owned | None:
    """Return the owner of an outer handle. The way of the call checks that its caller was given the handle."""
    upstream, separator, name = handle.partition(":")
    return Owned(upstream, name) if separator and upstream in upstreams else None


def outer_id(upstream: str, identifier: RequestId) -> str:
    """Return the id of an upstream's question, or its progress token, for clients. 1 and "1" stay different."""
    return outer_handle(upstream, json.dumps(identifier))


class OwnedId(NamedTuple):
    """The id of an upstream's question, or its progress token."""

    upstream: str
    id: RequestId


def resolve_id(identifier: object, upstreams: Collection[str]) -> OwnedId | None:
    """Return the owner of the outer id of a question, or of a server's progress token."""
    owned = resolve_handle(identifier, upstreams) if isinstance(identifier, str) else None
    if owned is None:
        return None
    try:
        found = json.loads(owned.name)
    except ValueError:
        return None
    is_id = isinstance(found, int | str) and not isinstance(found, bool)
    return OwnedId(owned.upstream, found) if is_id and outer_id(owned.upstream, found) == identifier else None
