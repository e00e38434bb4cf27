"""`opagate journal`: the record, checked, exported and followed."""

from __future__ import annotations

import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gateway.model.errors import JournalError
from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.journal_export import compact, export, named_fields
from gateway.surfaces.cli.options import (
    ConfigOption,
    JournalOption,
    JsonOption,
    chosen_journals,
    configuration,
    moment,
)
from gateway.surfaces.cli.terminal import (
    describe_count,
    emit,
    err,
    line,
    note,
    out,
    paint,
    pairs,
    require_reader,
    say,
    sentence,
    show,
    table,
)

if TYPE_CHECKING:
    from rich.text import Text

    from gateway.config import Configuration
    from gateway.model.wire import JsonObject
    from gateway.record.journal.reader import Verification
    from gateway.record.journal.several import NamedEntry, NamedJournal
    from gateway.record.journal.verification import JournalProblem, KnownEntry

app = typer.Typer(
    help="The record: explain a decision, follow, export and verify it; check and back up all that is stored.",
    no_args_is_help=True,
)

_POLL_SECONDS = 0.2
_CALLS_KEPT = 1_000
"""Calls whose targets `tail` remembers, for the entries that tell how they ended."""
_HEAD = re.compile(r"[0-9a-f]{64}")


@app.command("verify", epilog="Example: opagate journal verify --head 9f2c…")
def verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="HEAD", help="A head noted earlier: the journal must hold the line that it belongs to."),
    ] = None,
    folders: JournalOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no line of a journal was changed, removed, added or moved. Exit status 1 if one was.

    The journals of workers and of `journal.peers` are checked too, each by its own chain. A peer without a key cannot be checked.

    Also check that the journal goes as far as the snapshots of history in the state folder.
    """
    from gateway.surfaces.stored.workers import list_gateways

    if head is not None and _HEAD.fullmatch(head) is None:
        raise typer.BadParameter(
            f"{head!r} is no head; write all 64 digits of one that `opagate journal verify` printed"
        )
    settings = configuration(config)
    journals = chosen_journals(settings, folders)
    # An archive ends where it was cut, and is compared with no snapshot.
    gateways = {} if folders else {each.journal.path: each for each in list_gateways(settings)}
    found = [(each, _verify(each, gateways.get(each.folder), head)) for each in journals]
    # A head belongs to one of several journals.
    is_ok = any(one.ok for _, one in found) and all(
        one.ok or (len(found) > 1 and _lacks_head_alone(one)) for _, one in found
    )
    if as_json:
        told = [{"ok": one.ok, **asdict(one)} for _, one in found]
        names = [each.name for each, _ in found]
        several = [{"gateway": name, **one} for name, one in zip(names, told, strict=True)]
        emit(told[0] if len(told) == 1 else {"ok": is_ok, "journals": several})
    else:
        for each, one in found:
            _show(one, each.folder)
    if not is_ok:
        raise typer.Exit(1)


def _verify(journal: NamedJournal, gateway: Configuration | None, head: str | None) -> Verification:
    """Check a journal, and the end of a gateway's own one against its snapshots."""
    from gateway.record.journal import reader

    # Read before the journal, which goes on meanwhile.
    known, edited = (None, None) if gateway is None or journal.keys is None else _find_known_entry(gateway)
    with _progress(f"Checking the journal of {journal.name}") as advance:
        found = reader.verify(journal.folder, key=journal.keys, head=head, known=known, on_progress=advance)
    if edited is not None:
        found = replace(found, problems=(*found.problems, edited), problem_count=found.problem_count + 1)
    return found


def _lacks_head_alone(found: Verification) -> bool:
    from gateway.record.journal.verification import Fault

    return found.problem_count == 1 and found.problems[0].fault is Fault.HEAD_MISSING


def _find_known_entry(settings: Configuration) -> tuple[KnownEntry | None, JournalProblem | None]:
    """Return the last entry in the snapshots of history, or the problem with the snapshots."""
    from gateway.config import keys
    from gateway.history.store import Store, StoreEdited
    from gateway.model.errors import HistoryError
    from gateway.record.journal.verification import Fault, JournalProblem, KnownEntry

    key = keys.read_snapshots(settings)
    if key is None:
        note("the end of the journal was compared with nothing: the key of fingerprints is not there")
        return None, None
    store = Store(settings.state / keys.SNAPSHOTS, key)
    try:
        stored = store.load()
    except StoreEdited as error:
        return None, JournalProblem(Fault.SNAPSHOTS_EDITED, store.path.name, 0, error.message)
    except HistoryError as error:
        note(f"the end of the journal was compared with nothing: {error.message}")
        return None, None
    return (None if stored is None else KnownEntry(stored.journal, stored.known)), None


app.command("export", epilog="Example: opagate journal export --since 24h --kind call --output calls.jsonl")(export)


@app.command(
    "settle", epilog="Example: opagate journal settle 5f0c1d2e3a4b5c6d7e8f9a0b --failed --reason 'not in the ledger'"
)
def settle(
    call: Annotated[str, typer.Argument(metavar="ID", help="The decision id of the call.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the journal.")],
    done: Annotated[bool, typer.Option("--done", help="The call was carried out.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="The call did nothing: its effect may happen again.")
    ] = False,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Settle the unknown outcome of a call as done or failed. Look at its upstream first: an outcome is settled once."""
    if done == failed:
        raise typer.BadParameter("give --done or --failed")
    end = "done" if done else "failed"
    found: dict[str, Any] = ask_gateway(at, config, "calls/settle", id=call, end=end, reason=reason)
    if as_json:
        emit(found)
        return
    note(f"the call {call} is {end}")


@app.command("tail", epilog="Example: opagate journal tail --json | jq .")
def tail(
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many of the latest entries come first.")
    ] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with each new entry.")] = True,
    folders: JournalOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Entries as JSON lines.")] = False,
) -> None:
    """Show the latest entries, and each new one as it is written, until Ctrl-C.

    Entries of several journals come in the order of their times, each with the name of its gateway.
    """
    from gateway.record.journal.several import follow_entries

    journals = chosen_journals(configuration(config), folders)
    latest: deque[NamedEntry] = deque(maxlen=lines)
    targets = OrderedDict[str, str]()
    is_live = False

    def put(found: NamedEntry) -> None:
        if as_json:
            line(compact(named_fields(*found) if len(journals) > 1 else found.entry))
        else:
            shown = _line(found.entry, _target_of(cast("dict[str, Any]", found.entry), targets))
            say(f"{found.gateway} " if len(journals) > 1 else "", shown)

    for found in follow_entries(journals):
        if found is None:
            while latest:
                put(latest.popleft())
            out.file.flush()
            if not follow:
                return
            is_live = True
            require_reader()
            time.sleep(_POLL_SECONDS)
        elif found.entry["kind"] == "observed" and not as_json:
            # A bookkeeping entry of history says nothing to a person.
            continue
        elif is_live:
            put(found)
        else:
            _target_of(cast("dict[str, Any]", found.entry), targets)
            latest.append(found)


@app.command("prune", epilog="Example: opagate journal prune --before 90d --archive /mnt/archive/opagate")
def prune(
    before: Annotated[
        str, typer.Option(metavar="TIME", help="Segments all of whose entries are older: RFC 3339, a date, or 90d.")
    ],
    archive: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where they go. Without it they are removed for good.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove them for good.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the oldest segments go. What stays can be verified as before. May run beside the gateway."""
    from gateway.config import keys
    from gateway.config.history import SHORTEST_KEPT
    from gateway.record.journal import retention
    from gateway.record.journal.chain import timestamp

    now = time.time()
    oldest = moment(before, now=now)
    if oldest > now - SHORTEST_KEPT.total_seconds():
        raise typer.BadParameter("the last two days are kept: tasks that are open may have begun then")
    if archive is None and not yes:
        raise typer.BadParameter("the entries would be gone for good; name an --archive folder, or add --yes")
    settings = configuration(config)
    key = keys.read_chain(settings)
    if key is None:
        raise JournalError(f"there is no journal key in {settings.state}", "name the gateway's configuration")
    done = retention.prune(
        settings.journal.path, key=key, before=timestamp(oldest), time=timestamp(now), archive=archive
    )
    if as_json:
        emit(asdict(done))
        return
    where = f"moved to {archive}" if archive else "removed"
    note(f"{describe_count(done.segments, 'segment')} ({done.bytes} bytes) {where}")
    if done.floor is not None:
        note(f"the journal begins after entry {done.floor.seq} now")


@contextmanager
def _progress(title: str) -> Generator[Callable[[int, int], None] | None]:
    """Give a bar on stderr if stderr is a terminal."""
    if not err.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show(found: Verification, path: Path) -> None:
    rows = pairs()
    rows.add_row("journal", f"{path} ({found.journal or 'none'})")
    rows.add_row("entries", f"{found.entries} in {describe_count(found.segments, 'segment')}")
    if found.known is not None:
        rows.add_row("snapshots", f"of history, up to entry {found.known}")
    if found.cuts:
        rows.add_row("lost ends", paint("warn", f"{found.cuts}: see `opagate journal export --kind cut`"))
    rows.add_row("head", found.head or "none")
    rows.add_row(
        "end", "the gateway was stopped" if found.stopped else "a gateway is running, or it ended without a stop"
    )
    show(rows)
    if found.ok:
        out.print(paint("ok", "ok: every line follows from the one before it"))
        return
    problems = table("segment", "line", "fault", "what")
    for problem in found.problems:
        problems.add_row(problem.segment, str(problem.line or ""), paint("fail", problem.fault.value), problem.message)
    show(problems)
    more = found.problem_count - len(found.problems)
    sentence(
        f"the journal {path} is not as it was written: {describe_count(found.problem_count, 'problem')}"
        + (f", {more} more than shown" if more else ""),
        "keep it as it is, compare it with a copy, and find out who could write to it",
    )


def _target_of(fields: dict[str, Any], targets: OrderedDict[str, str]) -> str | None:
    """Return the target of an entry's call. `targets` keeps the targets of the latest calls."""
    target, call = fields.get("target"), str(fields.get("id"))
    if isinstance(target, dict):
        targets[call] = str(cast("dict[str, Any]", target).get("id"))
        if len(targets) > _CALLS_KEPT:
            targets.popitem(last=False)
        return None
    return targets.get(call)


def _line(entry: JsonObject, target: str | None = None) -> Text:
    """Return an entry as a line: time, kind, target, caller and reasons. `target` is the target of its call."""
    from rich.text import Text

    from gateway.base.letters import spell_out

    fields = cast("dict[str, Any]", entry)
    kind = str(fields["kind"])
    named = ("would_refuse", "would_ask", "effect", "outcome", "state", "event")
    word = next((fields[name] for name in named if fields.get(name)), "")
    word = "refused" if kind == "refused" else word
    shown = Text.assemble((str(fields["time"]), "dim"), " ", f"{kind:<9}", " ")
    shown.append_text(paint(str(word), f"{word:<10}"))
    for part in (*([target] if target else []), *_details(fields)):
        shown.append(f" {spell_out(part)}")
    return shown


def _code_of(reason: Any) -> str:
    """Return the code of a reason. An `approval` entry has codes alone."""
    return reason if isinstance(reason, str) else str(reason["code"])


def _details(fields: dict[str, Any]) -> Iterator[str]:
    target, principal = fields.get("target"), fields.get("principal")
    if isinstance(target, dict):
        yield str(cast("dict[str, Any]", target).get("id"))
    elif isinstance(target, str):
        yield target
    if fields.get("method"):
        yield f"{fields['method']} {fields.get('name') or ''}".rstrip()
    if isinstance(principal, dict):
        yield f"by {cast('dict[str, Any]', principal).get('id')}"
    codes = [_code_of(reason) for reason in fields.get("reasons") or ()]
    if codes:
        yield ", ".join(codes)
    if isinstance(vote := fields.get("vote"), dict):
        yield f"by {cast('dict[str, Any]', vote)['person']['id']}"
    if isinstance(fields.get("codes"), dict):
        yield f"{fields['count']} more refusals:"
        yield ", ".join(f"{code} {count}" for code, count in cast("dict[str, Any]", fields["codes"]).items())
    if "duration_ms" in fields:
        yield f"{fields['duration_ms']} ms"
    if fields.get("id"):
        yield f"[{fields['id']}]"
