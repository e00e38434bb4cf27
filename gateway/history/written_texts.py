"""The written texts among the durable records: in the state folder of one gateway, or in the database of several.

Each text is a record with an end. With a database, a gateway looks for news before each request. So it knows each text of a
call that had begun before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from gateway.base.control.operations import NoFields, Operation
from gateway.base.store.batches import Batches
from gateway.base.store.records import FollowedRecords, RecordKind
from gateway.history.returning import ReturningText, WrittenText
from gateway.model.errors import HistoryError, StoreError

if TYPE_CHECKING:
    from gateway.base.control.operations import Control
    from gateway.base.store.engine import Change
    from gateway.base.store.records import SealedStore

log = structlog.get_logger("gateway.history")

TEXTS: Final = RecordKind("written text", WrittenText, "its words bring no label back when they return")
NEWS: Final = RecordKind("news of written texts", str, "nothing: the next text brings the next news")
_ALL: Final = "all"
"""The id of the only news: each change of any text changes its version."""
_AT_ONCE: Final = 256
"""Requests that share one look."""


class WrittenTexts:
    """The written texts of a deployment. `texts` has them in memory."""

    def __init__(self, store: SealedStore, texts: ReturningText, clock: Callable[[], float]) -> None:
        self.texts = texts
        self._store = store
        self._records = store.of(TEXTS)
        self._news = store.of(NEWS)
        self._followed = FollowedRecords(self._records)
        self._version: int | None = None
        self._looks = Batches[None, None](self._look, _AT_ONCE, "written texts")
        self._clock = clock

    async def load(self) -> None:
        """Take over the texts of earlier processes. Raises `StoreError`."""
        await self._records.expire()
        self._take(await self._followed.load())

    async def write(self, name: str, text: WrittenText) -> None:
        """Keep the text of a call with this id. Texts without room go. Raises `HistoryError`."""
        gone = [other for other in self.texts.add(name, text) if other != name]
        written = self._records.changed(name, text, expires=text.at + self.texts.keep)
        try:
            version = await self._store.change(written, *map(self._records.removed, gone), self._tell())
        except StoreError as error:
            raise _make_error(error) from error
        self._followed.note(name, version)

    async def look(self) -> None:
        """Take over the changes of other gateways up to now. Raises `HistoryError`."""
        if self._store.claim is None:
            return
        try:
            await self._looks.add(None)
        except StoreError as error:
            raise _make_error(error) from error

    async def forget(self, tenant: str | None = None) -> int:
        """Forget the texts of a tenant, or all of them. Return their number. Raises `StoreError`."""
        await self.look()
        names = self.texts.list_ids(tenant)
        await self._store.change(*map(self._records.removed, names), self._tell())
        for name in names:
            self.texts.remove(name)
            self._followed.forget(name)
        return len(names)

    async def sweep(self) -> None:
        """Forget the texts whose time is over."""
        self.texts.sweep(self._clock())
        try:
            await self._records.expire()
        except StoreError as error:
            log.warning("history.texts-kept", problem=error.message)

    def _tell(self) -> Change:
        return self._news.changed(_ALL, "")

    async def _look(self, waiting: Sequence[None]) -> list[Exception | None]:
        found = await self._news.find(_ALL)
        version = None if found is None else found[1]
        if version != self._version:
            changed, gone = await self._followed.look()
            self._take(changed)
            for name in gone:
                self.texts.remove(name)
            self._version = version
        return [None] * len(waiting)

    def _take(self, found: dict[str, WrittenText]) -> None:
        for name, text in sorted(found.items(), key=lambda item: item[1].at):
            self.texts.add(name, text)


def _make_error(error: StoreError) -> HistoryError:
    return HistoryError(f"written texts cannot be used: {error.message}", error.remedy)


# --- operators -----------------------------------------------------------------------------------------


class TextsOfTenant(Struct, frozen=True):
    """The written texts of one tenant. `tenant` is `None` for systems without one."""

    tenant: str | None
    texts: int


class ListedTexts(Struct, frozen=True):
    """The written texts of each tenant. `words` is the number of all their words."""

    tenants: list[TextsOfTenant]
    words: int


class ForgetTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """The tenant whose texts are forgotten; `None` for all texts."""

    tenant: str | None = None


class ForgottenTexts(Struct, frozen=True):
    """The number of forgotten texts."""

    texts: int


_NEED: Final = "`history.returning` above zero"
LIST: Final = Operation(
    "texts/list", "operator", "Show the number of written texts.", ListedTexts, _NEED, route=("GET", "/api/texts")
)
FORGET: Final = Operation(
    "texts/forget",
    "operator",
    "Forget written texts.",
    ForgottenTexts,
    _NEED,
    ForgetTexts,
    ("POST", "/api/texts/forget"),
    is_recorded=True,
)
OPERATIONS: Final = (LIST, FORGET)


def add_operations(control: Control, written: WrittenTexts) -> None:
    """Add the operations of written texts."""

    async def list_texts(_asked: NoFields, _by: object) -> ListedTexts:
        await written.look()
        texts = written.texts
        found = [TextsOfTenant(tenant, count) for tenant, count in texts.list_tenants().items()]
        return ListedTexts(sorted(found, key=lambda one: one.tenant or ""), len(texts))

    async def forget(asked: ForgetTexts, _by: object) -> ForgottenTexts:
        return ForgottenTexts(await written.forget(asked.tenant))

    control.add({LIST: list_texts, FORGET: forget})
