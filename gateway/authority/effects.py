"""The effects of calls that happen once: which call had an effect first, and what became of it.

A tool declares what makes two calls the same effect (`effect_key` in its labels). The first call claims the effect on disk, before
policy decides. A refused or failed call gives the effect back. Values of arguments are kept as keyed digests alone.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import unicodedata
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import msgspec
import structlog
from msgspec import Struct, structs

from gateway.base.json import canonical
from gateway.base.json.strict import bulk
from gateway.base.json.strict import fold as fold_name
from gateway.base.json.walk import split_pointer
from gateway.base.store.engine import ABSENT
from gateway.base.store.records import RecordKind
from gateway.inspection.arguments import at
from gateway.model.call import RepeatedEffect
from gateway.model.caller import canonical_person
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.base.store.engine import Replica
    from gateway.base.store.records import SealedStore
    from gateway.model.call import Call
    from gateway.model.caller import Principal
    from gateway.model.wire import Json

log = structlog.get_logger("gateway.effects")

KEPT: Final = 7 * 86_400.0
"""Seconds for which an effect is remembered: far longer than clients try again."""
MOST: Final = 200_000
"""Effects that are kept, each some 500 bytes. A call beyond these is refused: an effect that is forgotten could happen again."""
MOST_OF_ONE: Final = 20_000
"""Effects of one user, or of an agent without one. So a busy caller leaves room for all others."""
_ATTEMPTS: Final = 8
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,64}(?:[.][0-9]{1,64})?")
_TEXT: Final = "text"
"""The member with the text of a content block of the protocol."""
MOST_LEAVES: Final = 20_000
"""Values of an answer that are compared with the values of an effect."""
EffectState: TypeAlias = Literal["open", "done", "unknown"]
End: TypeAlias = Literal["done", "failed", "unknown"]


class Effect(Struct, frozen=True):
    """An effect that a call has, or may have. `values` maps the pointers of its key to keyed digests. `who` is the user, or an agent
    without one. `place` are the digests of system and tool. `replica` names the gateway of the call, empty for a gateway alone."""

    call: str
    task: str
    who: str
    place: str
    values: dict[str, str]
    at: float
    state: EffectState = "open"
    replica: str = ""


# An effect that is not read could happen again.
EFFECTS: Final = RecordKind("effect", Effect, "a call with the same effect passes again", is_vital=True)


class Claim(Struct, frozen=True):
    """A claim of a call under decision. `earlier` is that of the call that had the effect first."""

    id: str
    effect: Effect
    earlier: Effect | None = None

    @property
    def repeats(self) -> RepeatedEffect | None:
        """Return the earlier call for policy."""
        earlier = self.earlier
        return None if earlier is None else RepeatedEffect(earlier.call, earlier.state, earlier.at)


class EffectRegister:
    """The effects of all gateways on the same records. `key` digests values. `clock` gives seconds since the epoch.

    `replica` is this gateway among others, `None` for a gateway alone.
    """

    def __init__(
        self, store: SealedStore, key: bytes, clock: Callable[[], float], replica: Replica | None = None
    ) -> None:
        self._store = store
        self._replica = replica
        self._living = frozenset[str]()
        self._records = store.of(EFFECTS)
        self._key = key
        self._clock = clock
        self._open: dict[str, Claim] = {}  # call → its claim, while the call is under way
        self._holders: dict[str, str] = {}  # effect → the call under way that has it now
        self._unknown: dict[str, tuple[str, Effect]] = {}  # call → the id of its effect, and the effect
        self._writes: dict[str, asyncio.Task[None]] = {}  # effect → the write of its end
        self._count = 0
        self._times: dict[str, deque[float]] = {}  # caller → the times of its effects, the earliest first

    async def begin(self) -> None:
        """Take over the effects of the gateway before this one: what became of its open calls is unknown. Raises `StoreError`."""
        await self._records.expire()
        found = await self._records.load_versions()
        self._count = len(found)
        for effect, _ in sorted(found.values(), key=lambda one: one[0].at):
            self._times.setdefault(effect.who, deque()).append(effect.at)
        await self._take_over(found)

    async def look(self) -> None:
        """Take over the effects of gateways that have ended since the last look. Raises `StoreError`."""
        if self._replica is None:
            return
        living = await self._replica.list_living()
        if self._living <= living:
            self._living = living
        else:
            await self.learn()

    async def learn(self) -> None:
        """Learn of the calls with an unknown outcome at other gateways, too. Raises `StoreError`."""
        if self._replica is not None:
            await self._take_over(await self._records.load_versions())

    async def _take_over(self, found: Mapping[str, tuple[Effect, int]]) -> None:
        """Note that the outcome of each open call is unknown whose gateway has ended."""
        self._living = frozenset[str]() if self._replica is None else await self._replica.list_living()
        for identifier, (known, version) in found.items():
            effect = known
            if effect.state == "open" and effect.replica not in self._living:
                effect = structs.replace(effect, state="unknown")
                change = self._records.changed(identifier, effect, version=version, expires=effect.at + KEPT)
                if await self._store.change(change) is None:
                    continue  # another gateway was faster
            if effect.state == "unknown":
                self._unknown[effect.call] = identifier, effect

    async def close(self) -> None:
        """Wait until all ends are on disk."""
        await asyncio.gather(*self._writes.values(), return_exceptions=True)

    async def sweep(self) -> None:
        """Forget the effects whose time is over. Raises `StoreError`."""
        await self._records.expire()
        self._count = await self._records.count()
        now = self._clock()
        self._times = {who: times for who in tuple(self._times) if (times := self._list_times(who))}
        self._unknown = {call: kept for call, kept in self._unknown.items() if now - kept[1].at < KEPT}

    # --- for calls -------------------------------------------------------------------------------------

    async def claim(self, principal: Principal, call: Call, identifier: str, task: str) -> Claim | None:
        """Claim the effect of a call; `None` if its tool declares no key, or the call has no value of it. Raises `StoreError`."""
        values = self._read_values(call)
        if not values:
            return None
        who, place = self._name_caller(principal), self._name_place(call)
        replica = "" if self._replica is None else self._replica.id
        effect = Effect(identifier, task, who, place, values, self._clock(), replica=replica)
        name = self._digest(["effect", who, place, cast("Json", values)])
        has_room = len(self._list_times(who)) < MOST_OF_ONE
        for _ in range(_ATTEMPTS):
            if (write := self._writes.get(name)) is not None:
                await asyncio.wait([write])
            change = self._records.changed(name, effect, version=ABSENT, expires=effect.at + KEPT)
            if has_room and self._count < MOST and await self._store.change(change) is not None:
                self._count += 1
                self._times.setdefault(who, deque()).append(effect.at)
                claim = self._open[effect.call] = Claim(name, effect)
                self._holders[name] = effect.call
                return claim
            earlier = await self._records.get(name)
            if earlier is not None:
                return Claim(name, effect, earlier)
            if not has_room:
                raise StoreError(
                    f"{_describe_caller(principal)} has {MOST_OF_ONE:,} effects that the gateway remembers, as many as one caller"
                    " may have, so it cannot tell whether this one happened",
                    "try again later: effects are forgotten after seven days; other callers are not concerned",
                )
            if self._count >= MOST:
                raise StoreError(
                    f"the gateway keeps {self._count:,} effects, as many as it can, so it cannot tell whether this one happened",
                    "try again later: effects are forgotten after seven days",
                )
        raise StoreError("an effect was claimed and given back again and again", "try again")

    def _list_times(self, who: str) -> deque[float]:
        """Return the times of the effects of a caller, without those that are forgotten."""
        times, now = self._times.get(who, deque[float]()), self._clock()
        while times and now - times[0] >= KEPT:
            times.popleft()
        return times

    async def conclude(self, claim: Claim, *, passes: bool) -> None:
        """Give the effect of a refused call back, or take an effect over that a person lets happen again. Raises `StoreError`."""
        if passes and claim.earlier is not None:
            self._open[claim.effect.call] = claim
            self._holders[claim.id] = claim.effect.call
            self._unknown.pop(claim.earlier.call, None)
            change = self._records.changed(claim.id, claim.effect, expires=claim.effect.at + KEPT)
            await self._store.change(change)
        elif not passes:
            self.settle(claim.effect.call, "failed")
            if (write := self._writes.get(claim.id)) is not None:
                await asyncio.wait([write])

    def settle(self, call: str, end: End) -> None:
        """Note what became of a call under way. After a failure its effect is free again, or is that of the earlier call.

        A later claim waits for the write.
        """
        claim = self._open.pop(call, None)
        if claim is None or self._holders.get(claim.id) != call:
            # A call that a person let through has the effect now.
            return
        del self._holders[claim.id]
        if end == "failed" and (earlier := claim.earlier) is not None:
            # What became of an open call may be on disk already, and is safe to forget.
            self._begin_write(claim.id, earlier, "done" if earlier.state == "done" else "unknown", claim.effect)
        else:
            self._begin_write(claim.id, claim.effect, end)

    def _begin_write(self, identifier: str, effect: Effect, end: End, stored: Effect | None = None) -> None:
        """Begin to write the end of an effect. `stored` is the effect on disk, if it is another."""
        ended = None if end == "failed" else structs.replace(effect, state=end)
        if end == "unknown" and ended is not None:
            self._unknown[effect.call] = identifier, ended
        else:
            self._unknown.pop(effect.call, None)
        write = self._writes[identifier] = asyncio.ensure_future(self._write(identifier, ended, stored or effect))
        write.add_done_callback(
            lambda done: self._writes.pop(identifier) if self._writes.get(identifier) is done else None
        )

    async def _write(self, identifier: str, ended: Effect | None, stored: Effect) -> None:
        """Write an end. If that fails the effect stays on disk as before, and a person may settle the call."""
        try:
            is_written = await self._replace(identifier, stored, ended)
            if is_written and ended is None:
                self._count -= 1
                with suppress(ValueError):
                    self._list_times(stored.who).remove(stored.at)
        except StoreError as error:
            self._unknown[stored.call] = identifier, structs.replace(stored, state="unknown")
            log.exception("effect.unsaved", problem=error.message)

    async def _replace(self, identifier: str, stored: Effect, ended: Effect | None) -> bool:
        """Replace the effect of a call on disk, or remove it. Return false if another call has the effect now.

        A call of another gateway may have it, after a word there about this one.
        """
        while True:
            found = await self._records.find(identifier)
            if found is None or found[0].call != stored.call:
                return False
            change = self._records.removed(identifier)
            if ended is not None:
                change = self._records.changed(identifier, ended, expires=ended.at + KEPT)
            if await self._store.change(change._replace(version=found[1])) is not None:
                return True

    # --- what became of an unknown call ----------------------------------------------------------------

    def confirm(self, call: str, end: Literal["done", "failed"]) -> bool:
        """Note what became of a call with an unknown outcome. Return whether the register knows of such a call."""
        found = self._unknown.get(call)
        if found is not None:
            self._begin_write(*found, end)
        return found is not None

    def find_task(self, call: str) -> str | None:
        """Return the task of a call with an effect and an unknown outcome."""
        found = self._unknown.get(call)
        return None if found is None else found[1].task

    def find_shown(self, principal: Principal, reading: Call, result: bytes) -> list[Effect]:
        """Return the effects of unknown outcome that the result of a confirming tool shows.

        The result has to have each value of the effect's key as a whole value. The value is a text of its own, or stands under a
        name like that of its argument. The number of a page is no amount. A sentence confirms nothing: `no payment of 10` has
        the amount too. What a result lacks may be on another page, or still to come: a missing effect confirms nothing. A key
        of the asked value alone has to be a whole value of the result.
        """
        confirms = reading.target.labels.confirms
        if confirms is None or not self._unknown:
            return []
        who, place = self._name_caller(principal), self._name_place(reading, confirms.tool)
        asked = self._digest_values(at(reading.arguments, confirms.argument))
        waiting = [
            effect
            for _, effect in self._unknown.values()
            if effect.who == who and effect.place == place and effect.values.get(confirms.argument) == asked
        ]
        if not waiting:
            return []
        names: dict[str, set[str]] = {}
        for name, value in _list_leaves(result):
            names.setdefault(self._digest_values([value]), set()).add(name)

        def is_shown(pointer: str, value: str) -> bool:
            if pointer == confirms.argument:
                # Any answer repeats the value that was asked for, also the answer that there is nothing.
                return True
            steps = [step for step in split_pointer(pointer) if step != "*" and not step.isdigit()]
            wanted = fold_name(steps[-1]) if steps else ""
            found = names.get(value, ())
            return _TEXT in found or any(wanted in name or (name and name in wanted) for name in found)

        return [
            effect
            for effect in waiting
            if all(is_shown(*one) for one in effect.values.items()) and (len(effect.values) > 1 or asked in names)
        ]

    # --- digests ---------------------------------------------------------------------------------------

    def _read_values(self, call: Call) -> dict[str, str]:
        """Return the digests of a call's values at the pointers of its key; none if the call has no value there."""
        found = {pointer: _list_plain(at(call.arguments, pointer)) for pointer in call.target.labels.effect_key}
        if not any(found.values()):
            return {}
        return {pointer: self._digest(["value", values]) for pointer, values in found.items()}

    def _digest_values(self, values: list[Json]) -> str:
        return self._digest(["value", _list_plain(values)])

    def _name_caller(self, principal: Principal) -> str:
        user = principal.user
        return self._digest(
            ["user", principal.issuer, canonical_person(user.id)]
            if user is not None
            else ["agent", principal.issuer, principal.id]
        )

    def _name_place(self, call: Call, tool: str | None = None) -> str:
        target = call.target
        return self._digest([target.audience, target.tenant, target.environment, tool or target.name])

    def _digest(self, document: Json) -> str:
        return hmac.digest(self._key, canonical.digest(document).encode("ascii"), "sha256").hex()[:40]


def _list_plain(values: Sequence[Json], *, is_parsed: bool = False) -> list[Json]:
    """Return values in one form. `null` says as much as no value."""
    return [_plain(value, is_parsed=is_parsed) for value in values if value is not None]


def _plain(value: Json, *, is_parsed: bool = False) -> Json:
    """Return a value in one form of the several that clients and servers take for the same.

    Such are `10`, `10.0` and `"10.00"`, `true` and `"true"`, a list and its JSON in a text, and a member that is absent or `null`.
    `is_parsed`: the value stands in such a text, where texts stand for themselves: so the depth is bounded.
    """
    if isinstance(value, str) and not is_parsed and bulk(value.encode("utf-8", "replace")) is None:
        inner = _parse(value)
        is_parsed, value = inner is not None, value if inner is None else inner
    if isinstance(value, Mapping):
        members = ((name, member) for name, member in value.items() if member is not None)
        return {_fold(name): _plain(member, is_parsed=is_parsed) for name, member in members}
    if isinstance(value, list | tuple):
        return _list_plain(value, is_parsed=is_parsed)
    text = _fold(f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value))
    return _plain_number(text) if _NUMBER.fullmatch(text) else text


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode().strip().casefold()


def _plain_number(text: str) -> str:
    """Return a number without zeros at its ends, with all its digits: `Decimal` rounds a long one."""
    whole, _, rest = text.lstrip("+-").partition(".")
    digits, rest = whole.lstrip("0") or "0", rest.rstrip("0")
    number = f"{digits}.{rest}" if rest else digits
    return f"-{number}" if text[0] == "-" and number != "0" else number


def _describe_caller(principal: Principal) -> str:
    user = principal.user
    return f"the agent {principal.id}" if user is None else f"the user {user.id}"


def _list_leaves(result: bytes) -> list[tuple[str, Json]]:
    """Return the leaves of a result with their folded names. JSON in a text has leaves too."""
    leaves: list[tuple[str, Json]] = []
    try:
        waiting: list[tuple[str, Any]] = [("", msgspec.json.decode(result))]
    except (msgspec.DecodeError, RecursionError):
        return leaves
    while waiting and len(leaves) < MOST_LEAVES:
        name, value = waiting.pop()
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            waiting.extend((fold_name(member), inner) for member, inner in members.items())
        elif isinstance(value, list):
            waiting.extend((name, inner) for inner in cast("list[Any]", value))
        elif isinstance(value, str) and (inner := _parse(value)) is not None:
            waiting.append((name, inner))
        elif value is not None:
            leaves.append((name, value))
    return leaves


def _parse(text: str) -> Any:
    """Return the object or list of which a text is the JSON; `None` for another text."""
    if text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
