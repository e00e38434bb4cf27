"""Values of a call whose lasting effect the contract of its task declares. Pure.

Such a call may pass without a question, so each of its values needs a source. Roles of authority (destination, command,
credential, amount, record) have rules of their own, and texts are inspected for links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from gateway.base.json.pointer import child
from gateway.inspection.destinations.find import texts
from gateway.inspection.destinations.normalise import fold_text, normalise
from gateway.inspection.words.grounds import Grounds
from gateway.inspection.words.words import amount, digest
from gateway.model.call import Call
from gateway.model.target import Role
from gateway.model.task import Contract
from gateway.model.wire import Json

MAX_VALUES: Final = 256
"""Values of a call that are told apart. More have no source."""
_ELSEWHERE: Final = frozenset({Role.DESTINATION, Role.COMMAND, Role.CREDENTIAL, Role.AMOUNT, Role.CONTENT, Role.RECORD})
_TOO_MANY: Final = "\0 more values than are told apart"
"""Stands for the values of all further arguments. No result has this word."""


def unnamed_values(
    call: Call, contract: Contract | None, given: Grounds, key: bytes
) -> Mapping[str, frozenset[int]] | None:
    """Return pointer → digests of the values that neither goal, contract nor directory name.

    Return `None` for a call whose effect the contract does not declare.
    """
    if contract is None or call.target.labels.effect not in contract.effects:
        return None
    found: dict[str, frozenset[int]] = {}
    left = MAX_VALUES
    for name, value in call.arguments.items():
        pointer = child("", name)
        if call.target.labels.roles.get(pointer) in _ELSEWHERE:
            continue
        values = list(islice(_values(value), left + 1))
        left = max(0, left - len(values))
        unnamed = [text for text in values if not _is_named(text, given)] if left else [_TOO_MANY]
        if unnamed:
            found[pointer] = frozenset(digest(fold_text(text), key) for text in unnamed)
    return found


def _values(value: Json) -> Iterator[str]:
    """Yield the texts of a value. Blank texts and switches name nothing."""
    return iter(()) if isinstance(value, bool) else (text for text in texts(value) if text.strip())


def _is_named(text: str, given: Grounds) -> bool:
    if given.names(text) or given.grounds_destination(normalise(text)):
        return True
    number = amount(text)
    return number is not None and number in given.amounts
