"""Finds credentials outside the arguments of a call: in headers, ids and `_meta`, and in messages that are not decided. Pure.

Policy sees the arguments of a call, and may let a credential pass there; no role and no contract speaks for any other
place. So a credential that one system has shown may go back to that system there, and to no other. A credential that no
system has shown is the client's own affair: it may be what the client authenticates to the upstream with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from gateway.base.json.walk import flatten, leaves
from gateway.inspection.credentials.calls import CredentialIndex
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.origins import ShownToCaller
from gateway.inspection.credentials.uncommon_words import has_uncommon
from gateway.model.content import CredentialPiece, Sighting
from gateway.model.wire import Headers, Json, JsonObject, Kind, Message
from gateway.wire.protocol import completions
from gateway.wire.protocol.headers import NAME, PARAM_PREFIX, decode
from gateway.wire.protocol.methods import TABLE
from gateway.wire.protocol.trace_context import read_parent

Problem = Literal["foreign", "unsearched"]
"""Another system's credential is there; or one may be: there is more than can be looked at, or more was shown than is
kept and an uncommon word is there."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way to an upstream. `given` has values that hold no foreign credential: handles that the upstream made
    (request state, task ids), and the gateway's own trace."""

    headers: Headers
    message: Message | None = None
    given: Collection[str] = ()


def examine(
    sent: Sent, shown: ShownToCaller, audience: str, detector: Detector
) -> Problem | tuple[CredentialPiece, ...]:
    """Return the problem with sending this to `audience`, or else the pieces of other systems' credentials in it."""
    texts = _texts(sent)
    walked = leaves({"": [*texts, *_traces(sent)]})
    if not walked.complete:
        return "unsearched"
    found = detector.inspect_leaves(walked, {}, shown.index, new=False)
    if not all(shown.may_go_to(audience, finding.fingerprint) for finding in found.findings):
        return "foreign"
    if found.incomplete or (shown.has_lost_beside(audience) and _has_uncommon(texts)):
        return "unsearched"
    theirs = (piece._replace(shown_by=shown.of_another(audience, piece.fingerprint)) for piece in found.pieces)
    return tuple(piece for piece in theirs if piece.shown_by is not None)


def _has_uncommon(texts: list[Json]) -> bool:
    """Return whether a text may be a credential that was shown and is not kept."""
    return any(has_uncommon(str(text)) for text in texts if text is not None and not isinstance(text, bool))


def find_repeated(sightings: Collection[Sighting], sent: Sent, detector: Detector) -> frozenset[str]:
    """Return the fingerprints of a result's credentials that its own call had beside its arguments. The caller sends
    these values everywhere, such as a user agent or the id of a device. The system only repeats them."""
    index = CredentialIndex({item.fingerprint: item.shingles for item in sightings})
    found = detector.inspect({"": _texts(sent)}, {}, index, new=False)
    return frozenset(finding.fingerprint for finding in found.findings)


# --- what is looked at -----------------------------------------------------------------------------------


def _texts(sent: Sent) -> list[Json]:
    """Return all values in order, so that parts of a split credential follow each other; then all names."""
    values: list[Json] = list(_header_values(sent))
    names: list[Json] = [_text(name) for name, _ in sent.headers]
    if sent.message is not None:
        flat = flatten(_shown_to_nobody(sent.message))
        values.extend(item for item in flat.scalars if item not in sent.given)
        names.extend(flat.names)
    return [*values, *names]


def _traces(sent: Sent) -> Iterator[str]:
    """Yield the ids of traces and their bytes: a caller chooses these. They are too short for the search to read hex there."""
    texts = [value.decode("latin-1") for name, value in sent.headers if name == b"traceparent"]
    meta = None if sent.message is None else sent.message.params.get("_meta")
    if isinstance(meta, Mapping):
        texts.append(str(meta.get("traceparent", "")))
    for text in texts:
        parent = read_parent(text.encode("utf-8", "surrogatepass"))
        if parent is not None:
            ids = (parent[0] + parent[1]).decode()
            yield ids
            yield bytes.fromhex(ids).decode("latin-1")


def _find_decided(message: Message) -> str | None:
    """Return the name of the member of `params` that policy sees; `None` for a method without one."""
    row = None if message.method is None else TABLE.get(message.method)
    return None if row is None else row.decided


def _shown_to_nobody(message: Message) -> JsonObject:
    """Return the parts of a message that no policy sees and no table knows."""
    if message.kind is Kind.RESPONSE:
        return cast("JsonObject", msgspec.json.decode(message.body))
    if message.method == completions.METHOD:
        return {"id": message.id, "params": completions.beside(message.params)}
    decided = _find_decided(message)
    params = {name: value for name, value in message.params.items() if name != decided}
    return {"id": message.id, "params": params}


def _header_values(sent: Sent) -> Iterator[str]:
    """Yield the header values, except of routing headers that repeat the policy input."""
    message = sent.message
    uri = message is not None and message.method == "resources/read"
    arguments: frozenset[str] | None = None
    for name, value in sent.headers:
        text = _text(value)
        if text in sent.given:
            continue
        if name == NAME and (uri or decode(text) in sent.given):
            continue
        if name.startswith(PARAM_PREFIX):
            arguments = _scalars(message) if arguments is None else arguments
            if decode(text) in arguments:
                continue
        yield text


def _scalars(message: Message | None) -> frozenset[str]:
    """Return the values of the decided arguments, in the form of header values."""
    if message is None or _find_decided(message) != "arguments":
        return frozenset()
    found = flatten(message.params.get("arguments")).scalars
    return frozenset(str(item) for item in found if item is not None and not isinstance(item, bool))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
