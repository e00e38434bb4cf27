"""Instructions of a server for the model, in its answer to `initialize` or `server/discover`. The module removes
instructions and leaves all other values unchanged. Reading is strict: an ambiguous answer is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.base.json import strict
from gateway.model.wire import RequestId
from gateway.wire.protocol.listing import answers
from gateway.wire.protocol.methods import names_where

METHODS: Final = names_where(lambda row: row.gives_instructions)
"""The methods whose answers carry instructions."""
FIELD: Final = "instructions"

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Greeting:
    """An answer to a greeting. `said` is the JSON value of its instructions; `None` without any, or for `null`."""

    body: bytes
    said: bytes | None = None

    @property
    def welcomes(self) -> bool:
        """Return whether the answer is a result, with possible instructions, and no error."""
        return "result" in _object.decode(self.body)

    def without(self) -> bytes:
        """Return the answer without its instructions."""
        return self._change(None)

    def replaced(self, text: str) -> bytes:
        """Return the answer with `text` as its instructions."""
        return self._change(text)

    def _change(self, text: str | None) -> bytes:
        envelope = _object.decode(self.body)
        result = _object.decode(envelope["result"])
        result.pop(FIELD, None)
        if text is not None:
            result[FIELD] = msgspec.Raw(_encode(text))
        envelope["result"] = msgspec.Raw(_encode(result))
        return _encode(envelope)


def read_greeting(body: bytes, id: RequestId) -> Greeting | None:  # noqa: A002 - the field's own name
    """Read the answer to a request sent with `id`. `None` for any other answer."""
    document = strict.read_reply(body)
    if isinstance(document, strict.UnreadableJson) or not answers(document, id):
        return None
    if "error" in document:
        return Greeting(body) if isinstance(document["error"], dict) else None
    result = document["result"]
    if not isinstance(result, dict) or strict.look_alike(result, frozenset({FIELD})):
        return None
    if result.get(FIELD) is None:
        return Greeting(body)
    return Greeting(body, bytes(_object.decode(_object.decode(body)["result"])[FIELD]))
