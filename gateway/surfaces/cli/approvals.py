"""`opagate approvals`: the questions about held calls, and people's answers to them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from gateway.authority.approvals.lines import WIDTH
from gateway.authority.approvals.model import WARNINGS
from gateway.base.letters import count_cells, fold
from gateway.surfaces.cli.control_client import AsOption, GatewayOption, GroupOption, complete_id, open_control
from gateway.surfaces.cli.loop import run
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, moment
from gateway.surfaces.cli.terminal import (
    FURTHER,
    NARROWEST,
    describe_count,
    emit,
    note,
    out,
    pairs,
    plain,
    say,
    show,
    table,
)

if TYPE_CHECKING:
    from gateway.authority.approvals.lines import Line

app = typer.Typer(help="Calls that wait for a person: look at them, and answer.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The question, or the first characters of its id.")]
ScopeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help=(
            "What the yes covers beside this call: `destination` (its shown values) or `limit` (its numbers) for the task."
            " `recurring`: its values together, for later tasks of the same kind."
        ),
    ),
]


@app.command("list", epilog="Example: opagate approvals list")
def list_questions(
    speaks_as: AsOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the calls that wait for a person, the oldest first."""
    with open_control(at, config, speaks_as) as desk:
        found: list[dict[str, Any]] = desk.ask("approvals/list")["questions"]
    if as_json:
        emit(found)
        return
    if not found:
        note("no call waits for a person")
        return
    listed = table("id", "code", "state", "call", "agent", "for", "reasons", "expires", "votes")
    for one in found:
        reasons = ", ".join(one["reasons"])
        cells = (one["target"], one["agent"], one["user"] or "-", reasons, one["expires"], one["votes"])
        listed.add_row(one["id"][:_SHORT], one["code"], one["state"], *map(plain, cells))
    show(listed)
    for one in found:
        for warning in one["warnings"]:
            say(f"{one['id'][:_SHORT]}: look closely, {WARNINGS[warning]}", style="yellow")


@app.command("show", epilog="Example: opagate approvals show 5f0c1d2e")
def show_question(
    question: IdArgument,
    speaks_as: AsOption = None,
    group: GroupOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all of one question: the call, where its values came from, the reasons, and the reach of a yes."""
    with open_control(at, config, speaks_as, group) as desk:
        found = desk.ask(
            "approvals/show", id=complete_id(desk.ask("approvals/list")["questions"], question, "question")
        )
    if as_json:
        emit(found)
    else:
        _print_question(found)


@app.command("approve", epilog="Example: opagate approvals approve 5f0c1d2e --scope destination")
def approve(
    question: IdArgument,
    scope: ScopeOption = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="The four letters that you were shown, to be sure.")
    ] = None,
    speaks_as: AsOption = None,
    group: GroupOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a call. The call passes once, if the policy still allows it."""
    with open_control(at, config, speaks_as, group) as desk:
        found = desk.ask(
            "approvals/show", id=complete_id(desk.ask("approvals/list")["questions"], question, "question")
        )
        if code is not None and code.upper() != found["code"]:
            raise typer.BadParameter(f"the question has the code {found['code']}", param_hint="--code")
        if not as_json:
            _print_question(found)
        vote = {"answer": "approve", "shown": found["shown"], "scopes": ["once", *(scope or ())]}
        counted_vote = desk.ask("approvals/vote", id=found["id"], **vote)
    _print_vote(counted_vote, as_json=as_json)


@app.command("deny", epilog="Example: opagate approvals deny 5f0c1d2e --end-task")
def deny(
    question: IdArgument,
    end_task: Annotated[bool, typer.Option("--end-task", help="End the task of the call too.")] = False,
    speaks_as: AsOption = None,
    group: GroupOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a call. One no is enough."""
    with open_control(at, config, speaks_as, group) as desk:
        found = desk.ask(
            "approvals/show", id=complete_id(desk.ask("approvals/list")["questions"], question, "question")
        )
        vote = {"answer": "deny", "shown": found["shown"], "end_task": end_task}
        counted_vote = desk.ask("approvals/vote", id=found["id"], **vote)
    _print_vote(counted_vote, as_json=as_json)


@app.command("watch", epilog="Example: opagate approvals watch")
def watch(
    speaks_as: AsOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print each question as it comes and changes, until you press Ctrl-C."""
    with open_control(at, config, speaks_as) as desk:
        for one in desk.watch("approvals/watch"):
            if as_json:
                typer.echo(json.dumps(one))
            else:
                text = f"{one['state']:<10} {one['code']}  {one['id'][:_SHORT]}  {one['target']}  {', '.join(one['reasons'])}"
                say(text)
                for warning in one["warnings"]:
                    say(f"  look closely, {WARNINGS[warning]}", style="yellow")


@app.command("stats", epilog="Example: opagate approvals stats --since 7d")
def stats(
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From this time on: RFC 3339, a date, or 7d for seven days ago.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how people answer: questions a task, the share approved, the time, and the rules that ask most."""
    from gateway.authority.approvals.statistics import Fatigue
    from gateway.record.journal import reader
    from gateway.record.journal.chain import timestamp

    first = timestamp(moment(since, now=time.time())) if since else ""
    found = Fatigue()
    for entry in reader.entries(configuration(config).journal.path):
        if entry["kind"] == "approval" and first <= str(entry["time"]):
            found.add(entry)
    report = found.describe()
    if as_json:
        emit(report)
    else:
        _print_report(report)


@app.command("test", epilog="Example: opagate approvals test --channel slack")
def send_test(
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="NAME", help="One channel in the place of all.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test message through each channel of the configuration. A failure makes the exit status 1."""
    from gateway.surfaces.cli.channel_test import try_channels

    found = run(try_channels(configuration(config), channel))
    if as_json:
        emit(found)
    elif not found:
        note("no channel sends messages: people look with `opagate approvals`, or over /api/approvals")
    for one in () if as_json else found:
        told = "delivered" if one["delivered"] else f"NOT delivered: {one['problem']}"
        say(f"{one['channel']} ({one['place']}): {told}", style="" if one["delivered"] else "red")
    if not all(one["delivered"] for one in found):
        raise typer.Exit(1)


def _print_report(report: dict[str, Any]) -> None:
    if not report["questions"]:
        note("no question was asked")
        return
    grid = pairs()
    for name in ("questions", "tasks", "questions_per_task", "answered", "expired", "median_seconds"):
        grid.add_row(name.replace("_", " "), plain(str(report[name])))
    for name, label in (("approved_share", "approved"), ("quick_share", "answered in under 2 s")):
        share = report[name]
        grid.add_row(label, plain("-" if share is None else f"{share:.0%}"))
    show(grid)
    for rule in report["rules"]:
        _title(
            f"{rule['code']}: {describe_count(rule['questions'], 'question')}, {rule['times']} for {rule['most_for']}"
        )
        for one in rule["instead"]:
            say(f"  to be asked no more, in {one['where']}: {one['yaml']}")
            if one["advice"]:
                say(f"    {one['advice']}")
    if report["warning"]:
        out.print()
        say(report["warning"], style="yellow")


_SHORT: Final = 8


def _print_vote(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    told = {
        "granted": "approved: the call passes once when it comes again",
        "pending": f"counted: {found['votes']} approvals",
        "denied": "refused: the caller is told that a person said no",
    }
    ended = "; its task is ended" if found.get("task_ended") else ""
    say(f"{told.get(found['state'], found['state'])}{ended}")


def _title(text: str) -> None:
    out.print()
    say(text, style="bold")


def _print_question(found: dict[str, Any]) -> None:
    """Print a question from its typed lines. Each row has a mark before it, so no text of a call begins a line."""
    from gateway.authority.approvals.lines import build_blocks

    for block in build_blocks(found):
        _title(block.title)
        for line in block.lines:
            _print_line(line)


def _print_line(line: Line) -> None:
    named = f"with --scope {line.name}" if line.kind == "scope" else line.name
    name = f"{named}: " if named else ""
    room = min(WIDTH, max(NARROWEST, out.width - count_cells(FURTHER)))
    first, *others = line.rows if room == WIDTH else fold(line.text, max(NARROWEST, room - len(name)))
    for row in (f"  {name}{first}", *(f"{FURTHER}{row}" for row in others)):
        out.print(Text(row), style="yellow" if line.kind == "warning" else "")
    for told in line.notes:
        for row in fold(told, room):
            out.print(Text(f"    ↳ {row}"), style="dim")
