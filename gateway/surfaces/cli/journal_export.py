"""`opagate journal export`: the record for other programs, as entries, events, logs or traces."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.model.errors import JournalError
from gateway.surfaces.cli.options import ConfigOption, JournalOption, chosen_journals, configuration, moment
from gateway.surfaces.cli.terminal import describe_count, line, note, sentence, text

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject
    from gateway.record.journal.several import NamedJournal
    from gateway.record.otlp import OtlpLogs


class ExportForm(StrEnum):
    """Forms of an export."""

    ENTRIES = "entries"
    OCSF = "ocsf"
    OTLP = "otlp"
    TRACE = "trace"


def export(
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From this time on: RFC 3339, a date, or 2h for two hours ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only entries of this kind, such as call. Repeatable.")
    ] = None,
    form: Annotated[
        ExportForm,
        typer.Option(
            "--format",
            help="`entries`; `ocsf`: events for a SIEM; `otlp`: logs of OpenTelemetry; or `trace`: each task with its calls,"
            " for `opagate policy replay`.",
        ),
    ] = ExportForm.ENTRIES,
    after: Annotated[
        int,
        typer.Option(metavar="SEQ", min=0, help="Only what follows this entry: the number of the last one exported."),
    ] = 0,
    task: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="With traces: only this task. Repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file, in the place of stdout.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With otlp: send to this collector, and print the number of the last entry."),
    ] = None,
    folders: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """Print entries as JSON lines, oldest first; or the tasks in them as traces.

    Entries of several journals come in the order of their times, each with the name of its `gateway`.

    With `--after` a timer exports what is new. The number of an entry is its `seq`, in one `--journal`.

    An event of OCSF has it in `metadata.sequence`, a log of OTLP in `opagate.journal.seq`.
    """
    if to is not None and (form is not ExportForm.OTLP or output is not None):
        raise typer.BadParameter("--to goes with --format otlp, in the place of --output")
    if form is ExportForm.TRACE:
        if since or until or kind or after:
            raise typer.BadParameter("traces are of whole tasks: --since, --until, --kind and --after go with entries")
        _export_traces(chosen_journals(configuration(config), folders), frozenset(task or ()), output)
        return
    if task:
        raise typer.BadParameter("--task goes with --format trace")
    if kind and form is ExportForm.OCSF:
        raise typer.BadParameter("an event is of several entries: --kind goes with entries")
    is_wanted = _filter_entries(since, until, frozenset(kind or ()))
    journals = chosen_journals(configuration(config), folders)
    if after or to is not None:
        _require_one(journals)
    if to is not None:
        _send_entries(journals[0].folder, to, after, is_wanted)
    else:
        _export_entries(journals, form, after, is_wanted, output)


def _require_one(journals: list[NamedJournal]) -> None:
    """Refuse several journals where the number of an entry counts. Raises `typer.BadParameter`."""
    if len(journals) > 1:
        names = ", ".join(str(each.folder) for each in journals)
        raise typer.BadParameter(f"each journal has its own numbers: name one of them with --journal ({names})")


def _filter_entries(since: str | None, until: str | None, kinds: frozenset[str]) -> Callable[[JsonObject], bool]:
    """Return the test of entries by time and kind. Raises `typer.BadParameter` for a text that is no time."""
    from gateway.record.journal.chain import timestamp

    now = time.time()
    first = timestamp(moment(since, now=now)) if since else ""
    last = timestamp(moment(until, now=now)) if until else "~"
    return lambda entry: first <= str(entry["time"]) < last and (not kinds or entry["kind"] in kinds)


def _export_entries(
    journals: list[NamedJournal],
    form: ExportForm,
    after: int,
    is_wanted: Callable[[JsonObject], bool],
    output: Path | None,
) -> None:
    """Write the wanted entries that follow the entry with the number `after`, each in its form."""
    from gateway.record.journal.several import merge_entries

    for each in journals:
        _require_entry(each.folder, after)
    count, is_one = 0, len(journals) == 1
    convert = {each.name: _CONVERSIONS[form](each.folder, None if is_one else each.name) for each in journals}
    with _writer(output) as write:
        for found in merge_entries(journals, after=after):
            for made in convert[found.gateway](found.entry) if is_wanted(found.entry) else ():
                write(f"{compact(made)}\n")
                count += 1
    if output is not None:
        note(f"{count} {'events' if form is ExportForm.OCSF else 'entries'} written to {output}")


def _send_entries(path: Path, url: str, after: int, is_wanted: Callable[[JsonObject], bool]) -> None:
    """Send the wanted entries that follow the entry with the number `after`, and print the number of the last one accepted."""
    from gateway.record import otlp
    from gateway.record.journal import reader
    from gateway.surfaces.cli.loop import run
    from gateway.wire.oauth_flow import is_acceptable_url

    if not is_acceptable_url(url):
        raise typer.BadParameter("the collector needs https, or http on this machine: the record names people")
    _require_entry(path, after)
    accepted = after

    def note_accepted(last: int) -> None:
        nonlocal accepted
        accepted = last

    headers = otlp.read_headers(os.environ.get(otlp.HEADERS_VARIABLE, ""))
    wanted = filter(is_wanted, reader.entries(path, after=after))
    try:
        run(otlp.send_logs(wanted, _otlp_logs(path), url, headers, note_accepted))
    finally:
        line(str(accepted))


def _require_entry(path: Path, after: int) -> None:
    """Refuse the number of an entry beyond the end: a timer would export nothing from a journal that was cut, without a word.

    Raises `JournalError`.
    """
    from gateway.record.journal import reader

    if after and next(reader.entries(path, after=after - 1), None) is None:
        raise JournalError(
            f"the journal {path} ends before entry {after}: it was cut, or is another one",
            "run `opagate journal verify`; then export from the entry that you have in common",
        )


def named_fields(gateway: str, entry: JsonObject) -> JsonObject:
    """Return an entry with the name of its gateway before its own fields. No field of an entry takes that place."""
    return {"gateway": gateway, **{name: value for name, value in entry.items() if name != "gateway"}}


def _as_it_is(_path: Path, gateway: str | None) -> Callable[[JsonObject], Iterable[JsonObject]]:
    return lambda entry: (entry if gateway is None else named_fields(gateway, entry),)


def _to_ocsf(path: Path, gateway: str | None) -> Callable[[JsonObject], Iterable[JsonObject]]:
    """Return the events of an entry."""
    from importlib.metadata import version

    from gateway.record.ocsf import OcsfEvents

    return OcsfEvents(version("opagate"), partial(_find_call, path), gateway).of


def _to_otlp(path: Path, gateway: str | None) -> Callable[[JsonObject], Iterable[JsonObject]]:
    """Return the log of an entry, as a line of the file format of OpenTelemetry."""
    logs = _otlp_logs(path, gateway)
    return lambda entry: (logs.wrap([logs.record(entry)]),)


def _otlp_logs(path: Path, gateway: str | None = None) -> OtlpLogs:
    from importlib.metadata import version

    from gateway.record.otlp import OtlpLogs

    return OtlpLogs(version("opagate"), partial(_find_call, path), gateway)


def _find_call(path: Path, call: str) -> JsonObject | None:
    """Return a call that began before the first exported entry."""
    from gateway.record.journal import reader

    return next((entry for entry in reader.find(path, call) if entry["kind"] == "call"), None)


_CONVERSIONS = {ExportForm.ENTRIES: _as_it_is, ExportForm.OCSF: _to_ocsf, ExportForm.OTLP: _to_otlp}
"""The conversion of entries to each form."""


def _export_traces(journals: list[NamedJournal], wanted: frozenset[str], output: Path | None) -> None:
    """Print each task as a line. Remarks on missing parts of the record go to stderr."""
    from gateway.record.journal.index import Index
    from gateway.surfaces.replay.recorded import Omitted, write_task

    index, omitted, tasks, steps = Index([each.folder for each in journals]), Omitted(), 0, 0
    known = index.tasks()
    if strange := sorted(wanted - set(known)):
        sentence(
            f"there is no task {strange[0]!r} in {', '.join(str(each.folder) for each in journals)}",
            "see `opagate journal tail --json` for the tasks of calls",
        )
        raise typer.Exit(1)
    with _writer(output) as write:
        for name in known:
            if not wanted or name in wanted:
                made = write_task(index, name, write, omitted)
                tasks, steps = tasks + (made > 0), steps + made
    note(
        f"{describe_count(steps, 'call')} of {describe_count(tasks, 'task')}"
        + ("" if output is None else f" written to {output}")
    )
    for remark in omitted.remarks():
        note(remark)


@contextmanager
def _writer(path: Path | None) -> Generator[Callable[[str], None]]:
    """Give a writer to stdout, or to a new file for its owner alone: the record names people and systems."""
    if path is None:
        yield text
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise typer.BadParameter(f"{path} exists; name another file") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yield lambda piece: print(piece, end="", file=file)


def compact(entry: JsonObject) -> str:
    """Return an entry as a line of JSON."""
    return json.dumps(entry, separators=(",", ":"))
