"""`opagate journal state`: what a gateway keeps on disk, checked, copied and put back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.surfaces.cli.loop import run
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration
from gateway.surfaces.cli.terminal import describe_count, emit, note, out, plain, sentence, show, table

if TYPE_CHECKING:
    from gateway.base.store.engine import CheckedForm
    from gateway.config import Configuration

app = typer.Typer(help="What the gateway keeps on disk: check it, copy it, put it back.", no_args_is_help=True)

_ALL = "all"


@app.command("check", epilog="Example: opagate journal state check")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check each stored form as a start would: its number, its records, and what would be lost. Exit status 1 if a start fails.

    Nothing is changed. `opagate journal verify` reads every line of the journal.
    """
    from gateway.surfaces.stored.check import check_state

    found = run(check_state(configuration(config)))
    if as_json:
        emit([_describe(each) for each in found])
    else:
        _show(found)
    if any(each.state == "fail" for each in found):
        raise typer.Exit(1)


@app.command("backup", epilog="Example: opagate journal state backup /backup/2026-12-01")
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the copy.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Copy the keys too. Whoever reads the copy can then forge the record.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the state, also of a running gateway: records, snapshots, journal and pins, as of one moment.

    Run this as the gateway's account. Without --with-keys, keep the keys elsewhere: the copy is of no use without them.
    """
    from gateway.surfaces.stored.backup import back_up

    settings = configuration(config)
    made = run(back_up(settings, folder, with_keys=with_keys, now=time.time()))
    if as_json:
        emit({"made": made.made, "release": made.release, "files": len(made.files), "has_keys": made.has_keys})
        return
    size = sum(each.size for each in made.files)
    note(f"{plain(str(folder))}: {describe_count(len(made.files), 'file')}, {size:,} bytes")
    if not made.has_keys:
        note("without keys: keep those apart, " + ", ".join(f"{name} {key}" for name, key in made.ids.items()))


@app.command("restore", epilog="Example: opagate journal state restore /backup/2026-12-01")
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of `opagate journal state backup`.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a copy into the configured state and journal folders, where no state is. Then check it.

    The next start ends the copy's open leases, and withdraws its approvals: each may have been used after the copy.

    Stops and ended logins from after the copy are not in it.
    """
    from gateway.surfaces.stored.backup import restore as restore_state
    from gateway.surfaces.stored.check import check_state
    from gateway.surfaces.stored.holding import hold_state

    settings = configuration(config)
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold_state(settings.state):
        made = restore_state(settings, folder)
        found = run(check_state(settings))
    if as_json:
        emit({"made": made.made, "release": made.release, "forms": [_describe(each) for each in found]})
    else:
        _show(found)
        note(f"restored as of {made.made}, from release {plain(made.release)}")
    if any(each.state == "fail" for each in found):
        raise typer.Exit(1)


@app.command("forget", epilog="Example: opagate journal state forget lease")
def forget(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A kind of `opagate journal state check`, or `all`.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the unreadable records of one kind that stop a gateway from starting. Readable records stay.

    After the loss of a sealing key, `all` renames the file of all records. In PostgreSQL it removes all unreadable records.

    Stop the gateway first.
    """
    from gateway.surfaces.stored.holding import hold_state

    settings = configuration(config)
    with hold_state(settings.state):
        if kind == _ALL and settings.store is None:
            aside = run(_forget_all(settings))
            found: dict[str, Any] = {"moved": str(aside)}
        else:
            found = run(_forget(settings, kind.replace("-", " ")))
    if as_json:
        emit(found)
    elif "moved" in found:
        out.print(f"Moved to {plain(found['moved'])}", soft_wrap=True)
        sentence(
            "open leases are not ended, ended logins are let in again, and stops are over", "end them at their issuers"
        )
    else:
        note(f"{describe_count(len(found['ids']), 'record')} removed: {plain(', '.join(found['ids']) or '-')}")
        note(f"lost with each: {found['lost']}")


@app.command("move", epilog="Example: opagate journal state move")
def move(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Move the durable records from the state folder to the PostgreSQL of the setting `store`, which has to have none.

    Stop the gateway first. The file is renamed and stays. With it, and without `store`, a gateway starts as before the move.
    """
    from gateway.surfaces.stored.holding import hold_state

    settings = configuration(config)
    with hold_state(settings.state):
        count, aside = run(move_all(settings))
    if as_json:
        emit({"moved": count, "aside": str(aside)})
        return
    note(f"{describe_count(count, 'record')} in PostgreSQL; the file is now {plain(str(aside))}")


def _show(found: list[CheckedForm]) -> None:
    listed = table("form", "place", "number", "count", "state")
    for each in found:
        listed.add_row(each.form.name, each.form.place, str(each.form.number), str(each.records), each.state)
    show(listed)
    for each in found:
        if each.problem:
            sentence(f"{each.form.name}: {each.problem}", each.remedy)


def _describe(checked: CheckedForm) -> dict[str, Any]:
    form = checked.form
    return {
        "form": form.name,
        "place": form.place,
        "number": form.number,
        "lost": form.lost,
        "count": checked.records,
        "state": checked.state,
        "problem": checked.problem,
        "remedy": checked.remedy,
    }


async def _forget_all(settings: Configuration) -> Path:
    """Move the file of durable records aside. The journal says so first, where there is one. Raises `GatewayError`."""
    from gateway.config import keys
    from gateway.model.errors import StoreError
    from gateway.record.journal.storage import has_begun
    from gateway.record.journal.writer import Journal

    records = settings.state / keys.RECORDS
    if not records.exists():
        raise StoreError(f"there is no file {records}", "name the gateway's configuration with --config")
    aside = records.with_name(f"{records.name}.forgotten-{int(time.time())}")
    # The sealing key may be lost, so only the keys of the journal are read.
    chain, fingerprints = keys.read_chain(settings), keys.read_fingerprints(settings)
    if chain is not None and fingerprints is not None and has_begun(settings.journal.path):
        journal = Journal.open(settings.journal, key=chain, fingerprints=fingerprints, clock=time.time)
        try:
            await journal.append("forgotten", {"record": _ALL, "ids": [], "moved": aside.name, "by": _account()})
        finally:
            await journal.close()
    _move_aside(records, aside)
    return aside


def _account() -> dict[str, str]:
    return {"id": f"account {os.geteuid()}", "issuer": "local", "channel": "command"}


def _move_aside(records: Path, aside: Path) -> None:
    """Rename the file of durable records, and the two files that SQLite keeps beside it. Raises `OSError`.

    A crash between two moves would leave records without their latest changes, such as stops. So the log goes into the
    file first. A log that is left is of a damaged file.
    """
    import sqlite3
    from contextlib import closing, suppress

    from gateway.base.store.sqlite import open_database

    with suppress(sqlite3.Error), closing(open_database(records)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    for suffix in ("-wal", "-shm", ""):
        path = records.with_name(records.name + suffix)
        if path.exists() or not suffix:
            path.rename(aside.with_name(aside.name + suffix))


async def _forget(settings: Configuration, kind: str) -> dict[str, Any]:
    """Remove the unreadable records of a kind, or of all kinds. The journal names them."""
    from gateway.base.store.engine import Change
    from gateway.config import keys
    from gateway.record.journal.storage import has_begun
    from gateway.record.journal.writer import Journal
    from gateway.surfaces.stored.check import KINDS, find_unreadable, read_rows
    from gateway.surfaces.stored.opening import hold_records

    lost = {known.name: known.lost for known in KINDS if kind in {known.name, _ALL}}
    if not lost:
        raise typer.BadParameter(f"{kind!r} is no kind; the kinds are: {', '.join(known.name for known in KINDS)}")
    unreadable = find_unreadable(settings, await read_rows(settings))
    gone = {name: unreadable[name].ids for name in lost if name in unreadable}
    found = keys.load(settings, begun=has_begun(settings.journal.path))
    journal = Journal.open(settings.journal, key=found.chain, fingerprints=found.fingerprints, clock=time.time)
    try:
        for name, ids in gone.items():
            forgotten = {"record": name, "ids": list(ids[:100]), "count": len(ids), "by": _account()}
            await journal.append("forgotten", forgotten)
            async with hold_records(settings, found) as held:
                await held.engine.change(*(Change(name, identifier, None) for identifier in ids))
    finally:
        await journal.close()
    named = [identifier for ids in gone.values() for identifier in ids]
    return {"kind": kind, "ids": named, "lost": "; ".join(lost[name] for name in gone) or lost.get(kind, "nothing")}


async def move_all(settings: Configuration) -> tuple[int, Path]:
    """Copy the records of the state folder to the database, and move the file aside. Return their number and the file."""
    from gateway.config import keys
    from gateway.record.journal.storage import has_begun
    from gateway.surfaces.stored.opening import move_records

    found = keys.load(settings, begun=has_begun(settings.journal.path))
    count = await move_records(settings, found)
    records = settings.state / keys.RECORDS
    aside = records.with_name(f"{records.name}.moved-{int(time.time())}")
    _move_aside(records, aside)
    return count, aside
