"""The stored forms of a gateway, checked as a start would find them. Nothing is changed.

Unknown forms and unreadable content are named, each with its loss.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.authority.approvals.endorsement_store import ENDORSEMENTS, REGISTER
from gateway.authority.approvals.passkeys import INVITATIONS
from gateway.authority.approvals.passkeys import KEYS as PASSKEYS
from gateway.authority.approvals.store import APPROVALS, DESCRIPTIONS, LATEST, POSITIONS
from gateway.authority.brokers.id_jag import PRESENTED
from gateway.authority.connections.browsers import BROWSERS
from gateway.authority.connections.links import LINKS
from gateway.authority.connections.store import CLIENTS, CONNECTIONS, PLACES, REMOVED, TOKENS, TURNS
from gateway.authority.effects import EFFECTS
from gateway.authority.shared_tokens import TOKENS_OF_CALLS
from gateway.authority.signals.store import EVENTS, SIGNALS, SIGNS
from gateway.authority.stops.switch import STOPS
from gateway.authority.store import LEASES, ORDERS, VALUES
from gateway.base.keys.key_ring import derive_ring, key_id
from gateway.base.store.duty import DUTIES
from gateway.base.store.engine import CheckedForm, StoredForm
from gateway.base.store.records import RecordKind, SealedStore
from gateway.base.store.sqlite import FORMAT, read_form
from gateway.calls.binding.shared_values import CONCEALING
from gateway.calls.binding.shared_values import VALUES as VALUES_OF_UPSTREAMS
from gateway.config import keys
from gateway.history import Store
from gateway.history.declared.accounts import FactAccounts
from gateway.history.durable import read_stored_tasks
from gateway.history.jobs import Jobs
from gateway.history.shared_accounts import ACCOUNTS
from gateway.history.shared_forms import SNAPSHOTS as SHARED_TASKS
from gateway.history.states import VERSION
from gateway.history.tasks.hand_over import HANDED_OVER
from gateway.history.written_texts import NEWS, TEXTS
from gateway.identity.dpop import PROOFS
from gateway.model.errors import GatewayError, HistoryError, StoreError
from gateway.record.journal import index_file, reader, recovery, storage
from gateway.record.journal.chain import FORMAT as JOURNAL_FORMAT
from gateway.record.journal.chain import Chain
from gateway.surfaces.stored.console_logins import LOGIN_LINKS, SESSIONS
from gateway.surfaces.stored.opening import find_place, look_at_records
from gateway.upstreams.catalogue import lockfile
from gateway.upstreams.catalogue.first_use import FIRST_PINS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.base.store.engine import Change
    from gateway.config import Configuration

KINDS: Final[tuple[RecordKind[Any], ...]] = (
    LEASES,
    VALUES,
    ORDERS,
    TOKENS_OF_CALLS,
    STOPS,
    EFFECTS,
    SIGNALS,
    EVENTS,
    APPROVALS,
    DESCRIPTIONS,
    LATEST,
    POSITIONS,
    ENDORSEMENTS,
    REGISTER,
    PASSKEYS,
    INVITATIONS,
    CONNECTIONS,
    PLACES,
    REMOVED,
    TURNS,
    LINKS,
    BROWSERS,
    VALUES_OF_UPSTREAMS,
    CONCEALING,
    PRESENTED,
    HANDED_OVER,
    TOKENS,
    CLIENTS,
    PROOFS,
    SHARED_TASKS,
    ACCOUNTS,
    TEXTS,
    NEWS,
    FIRST_PINS,
    SIGNS,
    DUTIES,
    SESSIONS,
    LOGIN_LINKS,
)
"""The kinds of durable records."""
_RECORDS: Final = StoredForm("records", keys.RECORDS, FORMAT, "leases, stops, ended logins, approvals and connections")
_JOURNAL: Final = StoredForm("journal", "journal", JOURNAL_FORMAT, "what was decided, and tasks with their facts")
_SNAPSHOTS: Final = StoredForm("snapshots", keys.SNAPSHOTS, VERSION, "nothing: the journal has it", is_derived=True)
_LOCK: Final = StoredForm("catalogue", "catalogue.lock", lockfile.VERSION, "tools are pinned on first use again")
_INDEX: Final = StoredForm(
    "index", f"{_JOURNAL.place}/index", index_file.FORMAT, "nothing: the journal has it", is_derived=True
)
FORMS: Final = (
    _JOURNAL,
    _RECORDS,
    *(StoredForm(kind.name, keys.RECORDS, kind.number, kind.lost) for kind in KINDS),
    _SNAPSHOTS,
    _LOCK,
    _INDEX,
)
"""All stored forms, with the number of each."""
EARLIER: Final = (
    "approvals/approvals.db",
    "approvals/endorsements",
    "connections/connections.db",
    "leases/leases.db",
    "signals/signals.db",
    "stops/stops.db",
)
"""Files of releases before the durable records had one file."""
_NAMED: Final = 20


class Unreadable(NamedTuple):
    """The ids of a kind's records that this release cannot read: unreadable ones, and those of a later release."""

    ids: tuple[str, ...]
    later: tuple[str, ...]


def read_present_keys(configuration: Configuration) -> dict[keys.Name, tuple[bytes, ...]]:
    """Return the keys of a gateway. Raise `GatewayError`, which calls no keys lost while another gateway writes the journal."""
    journal = configuration.journal.path
    try:
        return keys.read_keys(configuration, begun=storage.has_begun(journal))
    except GatewayError:
        # The keys may lie in the state folder of the other gateway.
        storage.require_unwritten(journal)
        raise


async def check_state(configuration: Configuration) -> list[CheckedForm]:
    """Return each stored form as it is on disk, or in PostgreSQL."""
    try:
        require_no_earlier(configuration.state)
        read_present_keys(configuration)
    except GatewayError as error:
        return [CheckedForm(_RECORDS, 0, "fail", error.message, error.remedy or "")]
    return [
        _check_journal(configuration),
        *[each async for each in _check_records(configuration)],
        _check_snapshots(configuration),
        _check_lock(configuration),
        _check_index(configuration),
    ]


def require_no_earlier(state: Path) -> None:
    """Refuse the state of releases before the single file of records. Raises `StoreError`."""
    if earlier := [path for name in EARLIER if (path := state / name).exists()]:
        raise StoreError(
            f"{earlier[0]} is of a release before 0.2.0, and this release does not read it; in it are open leases, stops,"
            " ended logins, approvals and connections",
            "start and stop that release once, which ends open leases; note its stops and signals; then remove the folders "
            + ", ".join(sorted({str(path.parent) for path in earlier})),
        )


async def read_rows(configuration: Configuration) -> list[Change]:
    """Return all durable records as they are stored. Raises `ConfigurationError` and `StoreError`."""
    with closing(look_at_records(configuration)) as engine:
        return await engine.read_all()


def find_unreadable(configuration: Configuration, rows: Sequence[Change]) -> dict[str, Unreadable]:
    """Return the unreadable records by kind. A kind that this release does not know is of a later one."""
    ring = keys.read_sealing(configuration)
    store = None if ring is None else SealedStore(look_at_records(configuration), derive_ring(ring, "records"))
    known: dict[str, RecordKind[Any]] = {kind.name: kind for kind in KINDS}
    found: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for kind, identifier, sealed, *_ in rows:
        if kind not in known:
            found[kind][1].append(identifier)
        elif (
            store is None or (problem := store.of(known[kind]).find_problem(identifier, sealed or b"")) == "unreadable"
        ):
            found[kind][0].append(identifier)
        elif problem == "later":
            found[kind][1].append(identifier)
    return {kind: Unreadable(tuple(ids), tuple(later)) for kind, (ids, later) in found.items()}


async def _check_records(configuration: Configuration) -> AsyncIterator[CheckedForm]:
    place = find_place(configuration)
    whole = _RECORDS._replace(place=place)
    try:
        rows = await read_rows(configuration)
        unreadable = find_unreadable(configuration, rows)
    except GatewayError as error:
        yield CheckedForm(whole, 0, "fail", error.message, error.remedy or "")
        return
    yield CheckedForm(whole, len(rows))
    for kind in KINDS:
        form = StoredForm(kind.name, place, kind.number, kind.lost)
        count = sum(row.kind == kind.name for row in rows)
        yield _check_kind(form, count, unreadable.pop(kind.name, Unreadable((), ())), is_vital=kind.is_vital)
    for name, of_kind in unreadable.items():
        yield _check_kind(StoredForm(name, place, 0, "unknown"), len(of_kind.later), of_kind, is_vital=True)


def _check_kind(form: StoredForm, count: int, unreadable: Unreadable, *, is_vital: bool) -> CheckedForm:
    if unreadable.later:
        problem = f"a later release wrote {_name(unreadable.later)}"
        return CheckedForm(form, count, "fail", problem, "start that release")
    if unreadable.ids:
        problem = f"{_name(unreadable.ids)} cannot be read; lost with each: {form.lost}"
        remedy = f"put the file and its sealing key back from a copy, or: opagate journal state forget {form.name.replace(' ', '-')}"
        return CheckedForm(form, count, "fail" if is_vital else "warn", problem, remedy)
    return CheckedForm(form, count)


def _name(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")


def _check_journal(configuration: Configuration) -> CheckedForm:
    """Check the headings and the end: `opagate journal verify` reads every line."""
    folder = configuration.journal.path
    try:
        if not storage.has_begun(folder):
            return CheckedForm(_JOURNAL, 0)
        chain, found = Chain.of(keys.read_chain(configuration)), storage.segments(folder)
        known = {each.key_id for each in chain.all}
        for _, path in found:
            heading = reader.first_of(path)
            if heading and heading.get("format", 1) != JOURNAL_FORMAT:
                problem = f"{path.name} has form {heading.get('format')}, of a later release"
                return CheckedForm(_JOURNAL, len(found), "fail", problem, "start that release")
            if heading and heading.get("key") not in known:
                problem = f"{path.name} was written with a key that is not there"
                return CheckedForm(_JOURNAL, len(found), "warn", problem, "put that key back, as journal-key.1")
        fingerprints = keys.read_fingerprints(configuration)
        recovery.require_end(folder, chain, None if fingerprints is None else key_id(fingerprints))
    except OSError as error:
        return CheckedForm(_JOURNAL, 0, "fail", f"{folder}: {error.strerror}", "run this as the gateway's user")
    except GatewayError as error:
        return CheckedForm(_JOURNAL, 0, "fail", error.message, error.remedy or "")
    return CheckedForm(_JOURNAL, len(found))


def _check_snapshots(configuration: Configuration) -> CheckedForm:
    ring = keys.read_snapshots(configuration)
    if ring is None:
        return CheckedForm(_SNAPSHOTS, 0)
    try:
        store = Store(configuration.state / keys.SNAPSHOTS, ring)
        stored = store.load()
        tasks = [] if stored is None else read_stored_tasks(stored, store, FactAccounts(), Jobs())
    except (HistoryError, ValueError) as error:
        problem = error.message if isinstance(error, HistoryError) else str(error)
        return CheckedForm(_SNAPSHOTS, 0, "warn", problem, "none is needed: the next start makes them from the journal")
    return CheckedForm(_SNAPSHOTS, len(tasks))


def _check_lock(configuration: Configuration) -> CheckedForm:
    path = configuration.catalogue.lock
    try:
        return CheckedForm(_LOCK, len(lockfile.load(path).upstreams) if path.exists() else 0)
    except GatewayError as error:
        return CheckedForm(_LOCK, 0, "fail", error.message, error.remedy or "")


def _check_index(configuration: Configuration) -> CheckedForm:
    path = configuration.journal.path / index_file.FILE
    try:
        form = read_form(path)
    except StoreError as error:
        return CheckedForm(_INDEX, 0, "warn", error.message, "none is needed: the next search makes it again")
    if form in {0, index_file.FORMAT}:
        return CheckedForm(_INDEX, int(form > 0))
    return CheckedForm(_INDEX, 1, "warn", f"it has form {form}", "none is needed: the next search makes it again")
