"""Digests that bind an approval: of the exact call, and of the question as shown. Pure.

Both are SHA-256 over the canonical form of `json.canonical` (RFC 8785). Both leave out the policy's revision and
the time, since the call is decided again at its release.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import structs

from gateway.base.json import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.authority.approvals.model import Question
    from gateway.model.call import Call
    from gateway.model.target import Target
    from gateway.model.wire import Json, JsonObject

_VERSION: Final = 2
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Letters that people tell apart: no I and no O."""
CODE_LENGTH: Final = 4


def digest_call(
    principal_key: str, task_id: str, call: Call, handles: Mapping[str, Iterable[str]], more: JsonObject
) -> str:
    """Return the digest of one exact call: its caller, task, target with definition and pin, arguments, and the parts
    beside the arguments. `more` are the answers to the server's questions, and the members of `_meta` about the client.

    `handles` maps each handle in the arguments to the fingerprints of its credential. Raises `ValueError` for arguments
    without a JSON form.
    """
    target = call.target
    document: dict[str, Json] = {
        "v": _VERSION,
        "principal": principal_key,
        "task": task_id,
        "action": call.action,
        "target": target.id,
        "type": target.type,
        "audience": target.audience,
        "pin": None if target.pin is None else target.pin.value,
        "definition": target.definition,
        "schema": target.schema,
        "arguments": call.arguments,
        "beside": {**more, **call.beside},
        "handles": {handle: sorted(prints) for handle, prints in handles.items()},
    }
    return canonical.digest(document)


def digest_subject(target: Target) -> str:
    """Return a checksum of a target alone, in half a microsecond. Only calls of targets with a question need the digest of the call.

    Two targets with one checksum cost one digest more, and nothing else.
    """
    return f"{zlib.crc32(f'{target.type}{target.upstream}/{target.name}'.encode()):08x}"


def digest_session(upstream: str, principal_key: str, session: str) -> str:
    """Return the digest of a caller's session (the upstream's own session id) at an upstream."""
    return hashlib.sha256(f"{upstream}\0{principal_key}\0{session}".encode()).hexdigest()


def digest_question(question: Question, description: JsonObject) -> str:
    """Return the digest of a question: the call, the caller, the rule, the reasons, the time, and the description of the call."""
    asked = msgspec.to_builtins(structs.replace(question, shown=""))
    return canonical.digest({"v": _VERSION, "question": asked, "description": description})


def code_of(question: Question) -> str:
    """Return four letters for the comparison of a question on two screens."""
    number = int.from_bytes(hashlib.sha256(question.shown.encode("ascii")).digest()[:8], "big")
    letters: list[str] = []
    for _ in range(CODE_LENGTH):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)
