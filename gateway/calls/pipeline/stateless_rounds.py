"""Rounds of an exchange whose upstream gives no `requestState`.

A server may answer `input_required` with `inputRequests` alone (2026-07-28, multi round-trip requests). Then the retry carries no value
that names the exchange. The gateway knows a retry by the same call and by responses to exactly the requests that the upstream made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway.base.json import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.calls.binding.ownership import Ownership
    from gateway.model.call import PastCall
    from gateway.model.caller import Principal
    from gateway.model.wire import Message

_NAMESPACE: Final = "\0round"
"""Keeps rounds apart from the values of an upstream. No upstream's name has a zero byte, so no client can present a round as a state."""
_PER_REQUEST: Final = frozenset({"_meta", "requestState", "inputResponses"})


def note_round(
    ownership: Ownership, principal: Principal, message: Message, requests: Iterable[str], past_call: PastCall
) -> None:
    """Note that an upstream asked `principal` for input in answer to `message`, without a state. `requests` are the keys."""
    name = _name_round(message, requests)
    if name is not None:
        ownership.deliver(past_call.target.upstream + _NAMESPACE, name, principal, past_call)


def find_round(ownership: Ownership, upstream: str, principal: Principal, message: Message) -> PastCall | None:
    """Return the call whose answer asked for the responses of this retry."""
    responses = message.params.get("inputResponses")
    if not isinstance(responses, Mapping) or not responses or "requestState" in message.params:
        return None
    name = _name_round(message, responses)
    return None if name is None else ownership.past_call(upstream + _NAMESPACE, name, principal)


def _name_round(message: Message, keys: Iterable[str]) -> str | None:
    """Return a digest of a call and the keys of its requests. Return `None` for numbers that JSON cannot write."""
    call = {name: value for name, value in message.params.items() if name not in _PER_REQUEST}
    try:
        return canonical.digest({"method": message.method, "call": call, "keys": sorted(keys)})
    except ValueError:
        return None
