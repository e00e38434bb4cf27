"""The principal of each session, opaque value, open request and round of an upstream. An upstream sees one caller, the gateway, and cannot
tell the gateway's clients apart. So the gateway binds each of these to its caller, and refuses it from all others. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.base.json import canonical
from gateway.model.call import PastCall
from gateway.model.caller import Principal
from gateway.model.wire import RequestId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.base.keys.key_ring import KeyRing
    from gateway.model.wire import Message

# --- sessions --------------------------------------------------------------------------------------------


_MAC_BYTES: Final = 16
_OPENS_URLS: Final = "u"
"""Stands before the MAC of a session whose client opens URLs. No MAC begins with this letter."""


class Session(Struct, frozen=True):
    """A session of a caller. `id` is the upstream's own. `opens_urls`: the client declared URL elicitation in `initialize`."""

    id: str
    opens_urls: bool = False


class Sessions:
    """The seal of session ids: the newest key seals, and every key opens."""

    def __init__(self, keys: KeyRing[bytes]) -> None:
        self._keys = keys

    def seal(self, session: Session, *, upstream: str, principal: Principal) -> str:
        """Return the client's id for the upstream's."""
        return f"{session.id}.{self._tag(self._keys.newest, session, upstream, principal)}"

    def open(self, sealed: str, *, upstream: str, principal: Principal) -> Session | None:
        """Return the session, or `None` if this principal did not get `sealed` from this upstream."""
        identifier, _, tag = sealed.rpartition(".")
        session = Session(identifier, tag.startswith(_OPENS_URLS))
        for key in self._keys.keys:
            if hmac.compare_digest(tag.encode(), self._tag(key, session, upstream, principal).encode()):
                return session
        return None

    @staticmethod
    def _tag(key: bytes, session: Session, upstream: str, principal: Principal) -> str:
        # Only the text of a session whose client opens URLs begins with a NUL, since an upstream has a name.
        mark, first = (_OPENS_URLS, "\0") if session.opens_urls else ("", "")
        message = f"{first}{upstream}\0{principal.key}\0{session.id}".encode()
        return mark + hmac.digest(key, message, hashlib.sha256)[:_MAC_BYTES].hex()


# --- opaque values ---------------------------------------------------------------------------------------


LIFETIME: Final = 24 * 3600.0
"""Seconds that a value is remembered after it was last delivered or used."""
PER_PRINCIPAL: Final = 4096
"""Values of one principal; beyond it the oldest are forgotten, which only ever hurts their owner."""
IN_ALL: Final = 131_072
"""Values of all principals, in 55 to 130 MB. Beyond it those who have the most forget their oldest, until an eighth of it is
free: nobody loses any to one who has more. Of more principals than values those go that were idle for longest."""

_NEVER: Final[tuple[float, PastCall | None]] = (0.0, None)
_NOTHING: Final[Mapping[bytes, tuple[float, PastCall | None]]] = MappingProxyType({})


class Ownership:
    """A memory of the recipient of each value. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float], *, in_all: int = IN_ALL) -> None:
        self._clock = clock
        self._in_all = in_all
        self._size = 0
        self._owned: OrderedDict[str, OrderedDict[bytes, tuple[float, PastCall | None]]] = OrderedDict()

    def deliver(
        self, upstream: str, value: str, principal: Principal, past_call: PastCall | None = None, *, once: bool = False
    ) -> None:
        """Note that `upstream` gave `value` to `principal` in the answer to the call `made`. Without a call, the
        earlier call of the value stays. `once`: the value is unique, so a second delivery makes its call unknown."""
        owned = self._owned.setdefault(principal.key, OrderedDict())
        self._owned.move_to_end(principal.key)
        digest = _digest(upstream, value)
        known = owned.get(digest)
        if known is not None:
            past_call = None if once else past_call or known[1]
        self._size += known is None
        owned[digest] = (self._clock() + LIFETIME, past_call)
        owned.move_to_end(digest)
        if len(owned) > PER_PRINCIPAL:
            self._forget_oldest(owned)
        if self._size > self._in_all:
            self._make_room()

    def renew_if_owner(self, upstream: str, value: str, principal: Principal) -> bool:
        """Return whether `upstream` gave `value` to `principal`. A use extends the time of the value."""
        owned = self._owned.get(principal.key)
        if owned is None:
            return False
        digest = _digest(upstream, value)
        if owned.get(digest, _NEVER)[0] <= self._clock():
            return False
        self.deliver(upstream, value, principal)
        return True

    def is_owner(self, upstream: str, value: str, principal: Principal) -> bool:
        """Return whether `upstream` gave `value` to `principal`, and leave the time of the value as it is."""
        return self._owned.get(principal.key, _NOTHING).get(_digest(upstream, value), _NEVER)[0] > self._clock()

    def past_call(self, upstream: str, value: str, principal: Principal) -> PastCall | None:
        """Return the call with `value` in the answer of `upstream` to `principal`, if known."""
        return self._owned.get(principal.key, _NOTHING).get(_digest(upstream, value), _NEVER)[1]

    def expire(self) -> None:
        """Forget old values. Called now and then."""
        now = self._clock()
        for key, owned in tuple(self._owned.items()):
            while owned and next(iter(owned.values()))[0] <= now:
                self._forget_oldest(owned)
            if not owned:
                del self._owned[key]

    def _make_room(self) -> None:
        room = self._in_all - self._in_all // 8
        most = _level([len(owned) for owned in self._owned.values()], room)
        for owned in self._owned.values():
            while len(owned) > most:
                self._forget_oldest(owned)
        while self._size > room:
            _, owned = self._owned.popitem(last=False)
            self._size -= len(owned)

    def _forget_oldest(self, owned: OrderedDict[bytes, tuple[float, PastCall | None]]) -> None:
        owned.popitem(last=False)
        self._size -= 1


def _level(sizes: list[int], room: int) -> int:
    """Return the largest share with room for all shares together, and at least 1."""
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return max(room // left, 1)
        room -= size
        left -= 1
    return max(sizes)


def _digest(upstream: str, value: str) -> bytes:
    return hashlib.sha256(f"{upstream}\0{value}".encode("utf-8", "surrogatepass")).digest()[:16]


# --- open requests outside of sessions -------------------------------------------------------------------


QUESTIONS: Final = 64
"""Questions on one stream that wait for their answers; beyond it the oldest is forgotten, and cannot be answered."""


@dataclass(slots=True, eq=False)
class _Open:
    """A request, or a stream without a request (`None`), with the questions on it. Ids are told apart by type: 1 is not
    "1"."""

    request: str | None
    questions: dict[str, None] = field(default_factory=dict[str, None])


class SessionlessExchanges:
    """Open requests and questions outside of a session, by upstream and caller."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], list[_Open]] = {}

    def begin(self, upstream: str, principal: str, request: RequestId | None) -> Callable[[], None]:
        """Note a request, or a stream. Return a function to call at its end."""
        key, opened = (upstream, principal), _Open(None if request is None else repr(request), {})
        self._open.setdefault(key, []).append(opened)
        return partial(self._end, key, opened)

    def note_question(self, upstream: str, principal: str, request: RequestId | None, question: RequestId) -> None:
        """Note a question on the stream of a request."""
        for opened in self._open.get((upstream, principal), ()):
            if opened.request == _name(request):
                opened.questions[repr(question)] = None
                if len(opened.questions) > QUESTIONS:
                    del opened.questions[next(iter(opened.questions))]
                return

    def is_open(self, upstream: str, principal: str, request: object) -> bool:
        """Return whether the id names an open request of the caller."""
        if not isinstance(request, str | int):
            return False
        name = _name(request)
        return any(opened.request == name for opened in self._open.get((upstream, principal), ()))

    def is_asked(self, upstream: str, principal: str, question: RequestId | None) -> bool:
        """Return whether the caller has an open question of this id."""
        name = repr(question)
        return any(name in opened.questions for opened in self._open.get((upstream, principal), ()))

    def close_question(self, upstream: str, principal: str, question: RequestId | None) -> None:
        """Close the question of this id: the caller has answered it."""
        name = repr(question)
        for opened in self._open.get((upstream, principal), ()):
            if name in opened.questions:
                del opened.questions[name]
                return

    def _end(self, key: tuple[str, str], opened: _Open) -> None:
        left = self._open[key]
        left.remove(opened)
        if not left:
            del self._open[key]


def _name(request: RequestId | None) -> str | None:
    return None if request is None else repr(request)


# --- rounds without a state ------------------------------------------------------------------------------


_NAMESPACE: Final = "\0round"
"""Keeps rounds apart from the values of an upstream. No upstream's name has a zero byte, so no client can present a round as a state."""
_PER_REQUEST: Final = frozenset({"_meta", "requestState", "inputResponses"})


def name_round(upstream: str, message: Message, requests: Iterable[str]) -> tuple[str, str] | None:
    """Return the names under which a round of a call is owned, in the place of upstream and value. `requests` are the keys of what
    the upstream asked for without a state. `None`: the call cannot be named."""
    name = _name_round(message, requests)
    return None if name is None else (upstream + _NAMESPACE, name)


def find_round(ownership: Ownership, upstream: str, principal: Principal, message: Message) -> PastCall | None:
    """Return the call whose answer asked for the responses of this retry."""
    responses = message.params.get("inputResponses")
    if not isinstance(responses, Mapping) or not responses or "requestState" in message.params:
        return None
    named = name_round(upstream, message, responses)
    return None if named is None else ownership.past_call(*named, principal)


def _name_round(message: Message, keys: Iterable[str]) -> str | None:
    """Return a digest of a call and the keys of its requests. Return `None` for numbers that JSON cannot write."""
    call = {name: value for name, value in message.params.items() if name not in _PER_REQUEST}
    try:
        return canonical.digest({"method": message.method, "call": call, "keys": sorted(keys)})
    except ValueError:
        return None
