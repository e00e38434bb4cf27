"""`opagate approvals`: questions about held calls with people's answers, approved values that recur, and the channels to people."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from gateway.authority.approvals.channels.building import build_channels
from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.notice import NoticeMessage
from gateway.authority.approvals.channels.sender import ATTEMPT_SECONDS
from gateway.authority.approvals.lines import WIDTH
from gateway.authority.approvals.model import WARNINGS
from gateway.base.letters import count_cells, fold, spell_out
from gateway.surfaces.cli import passkeys
from gateway.surfaces.cli.control_client import AsOption, GatewayOption, GroupOption, complete_id, open_control
from gateway.surfaces.cli.loop import run
from gateway.surfaces.cli.options import (
    ConfigOption,
    JsonOption,
    chosen_journals,
    configuration,
    moment,
    select_given,
)
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
    from collections.abc import Mapping

    from gateway.authority.approvals.channels.channel import ApprovalChannel
    from gateway.authority.approvals.lines import Line
    from gateway.config import Configuration
    from gateway.surfaces.cli.control_client import ControlClient


app = typer.Typer(help="Calls that wait for a person: look at them, and answer.", no_args_is_help=True)

_SHORT: Final = 8

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
    """List the calls that wait for a person, by their task or tree."""
    with open_control(at, config, speaks_as) as desk:
        found: list[dict[str, Any]] = desk.ask("approvals/list")["questions"]
    if as_json:
        emit(found)
        return
    if not found:
        note("no call waits for a person")
        return
    shown = [one for one in found if not one["is_in_line"]]
    listed = table("id", "code", "state", "task", "question", "reasons", "expires", "votes")
    for one in shown:
        task, reasons = _name_line(one), ", ".join(one["reasons"])
        cells = (task, one["sentence"], reasons, one["expires"], one["votes"])
        listed.add_row(one["id"][:_SHORT], one["code"], one["state"], *map(plain, cells))
    show(listed)
    if waiting := len(found) - len(shown):
        note(f"{describe_count(waiting, 'question')} in line, until earlier ones of their task or tree are answered")
    for one in shown:
        for warning in one["warnings"]:
            say(f"{one['id'][:_SHORT]}: look closely, {WARNINGS[warning]}", style="yellow")


def _name_line(question: Mapping[str, Any]) -> str:
    """Return the short name of a question's task, behind that of the tree."""
    tree = question.get("tree") or question["task"]  # a gateway of an earlier release names no tree
    names = dict.fromkeys((question["task"], tree))
    return " < ".join(name.removeprefix("task-")[:_SHORT] or "-" for name in names)


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
        found = _read_question(desk, question)
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
        found = _read_question(desk, question)
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
        found = _read_question(desk, question)
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
                state = "in line" if one["is_in_line"] else one["state"]
                say(f"{state:<10} {one['code']}  {one['id'][:_SHORT]}  {one['sentence']}  {', '.join(one['reasons'])}")
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
    from gateway.record.journal.chain import timestamp
    from gateway.record.journal.several import merge_entries

    first = timestamp(moment(since, now=time.time())) if since else ""
    found = Fatigue()
    for _, entry in merge_entries(chosen_journals(configuration(config))):
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


def _read_question(desk: ControlClient, beginning: str) -> dict[str, Any]:
    """Return the question whose id has this beginning. Raises `ControlRefusal`, and `BadParameter` if there are several."""
    known = desk.ask("approvals/list")["questions"]
    return desk.ask("approvals/show", id=complete_id(known, beginning, "question"))


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
    from gateway.authority.approvals.sentence import View

    for block in build_blocks(found, View(time.time(), None)):
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
        link = f": opagate journal explain {told.decision}" if told.decision else ""
        for row in fold(spell_out(f"{told.text}{link}"), room):
            out.print(Text(f"    ↳ {row}"), style="dim")


PrincipalOption = Annotated[
    str | None, typer.Option("--principal", metavar="NAME", help="Endorsements of this agent, or for this user.")
]
ToolOption = Annotated[
    str | None, typer.Option("--tool", metavar="TOOL", help="Endorsements for this tool, as in mail/send.")
]
KindOption = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Endorsements for tasks of this kind.")]

endorsements = typer.Typer(
    help="Approved values that recur in later tasks: list and revoke them.", no_args_is_help=True
)
app.add_typer(endorsements, name="endorsements")
app.add_typer(passkeys.app, name="passkeys")
app.command("verify", epilog="Example: opagate approvals verify")(passkeys.verify_votes)

_LONGEST_VALUE: Final = 200
"""Characters of one value in a list. `--json` has it whole."""


@endorsements.command("list", epilog="Example: opagate approvals endorsements list --kind weekly-report")
def list_endorsements(
    principal: PrincipalOption = None,
    tool: ToolOption = None,
    kind: KindOption = None,
    speaks_as: AsOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the values that later tasks of the same kind may use without a question, the oldest first."""
    with open_control(at, config, speaks_as) as desk:
        every: list[dict[str, Any]] = desk.ask("endorsements/list")["endorsements"]
    found = [one for one in every if _fits(one, principal, tool, kind)]
    if as_json:
        emit(found)
    elif not found:
        note("no approved values recur")
    else:
        _print_endorsements(found)


@endorsements.command("revoke", epilog="Example: opagate approvals endorsements revoke 5f0c1d2e")
def revoke_endorsements(
    endorsement: Annotated[
        str | None, typer.Argument(metavar="ID", help="The endorsement, or the first characters of its id.")
    ] = None,
    principal: PrincipalOption = None,
    tool: ToolOption = None,
    kind: KindOption = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    speaks_as: AsOption = None,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke endorsements: the next call asks again, in open tasks too. Several options select what fits all of them."""
    if not (endorsement or principal or tool or kind or every):
        raise typer.BadParameter("name an id, --principal, --tool or --kind, or give --all")
    with open_control(at, config, speaks_as) as desk:
        selection: dict[str, Any] = select_given(principal=principal, tool=tool, kind=kind)
        if endorsement:
            selection["id"] = complete_id(desk.ask("endorsements/list")["endorsements"], endorsement, "endorsement")
        revoked: list[dict[str, Any]] = desk.ask("endorsements/revoke", **selection, all=every)["endorsements"]
    if as_json:
        emit(revoked)
        return
    _print_endorsements(revoked)
    note(f"{describe_count(len(revoked), 'endorsement')} revoked: the next call with these values asks again")


def _fits(found: dict[str, Any], principal: str | None, tool: str | None, kind: str | None) -> bool:
    is_named = principal is None or principal in {found["agent"], found["user"], found["principal"]}
    return is_named and tool in {None, found["tool"]} and kind in {None, found["kind"]}


def _print_endorsements(found: list[dict[str, Any]]) -> None:
    listed = table("id", "kind", "tool", "agent", "for", "approved by", "expires", "used")
    for one in found:
        persons = ", ".join(person["id"] for person in one["approved_by"])
        cells = (
            one["kind"],
            one["tool"],
            one["agent"],
            one["user"] or "-",
            persons,
            one["expires"],
            one["used"] or "-",
        )
        listed.add_row(one["id"][:_SHORT], *map(plain, cells))
    show(listed)
    for one in found:
        say(f"{one['id'][:_SHORT]}: {_values(one)}")


def _values(found: dict[str, Any]) -> str:
    """Return the bound values of an endorsement in words."""
    if found["values"] is None:
        return f"the values of {', '.join(found['asked'])}, of which the gateway has the digest alone"
    parts = (f"{pointer} = {_value(values)}" for pointer, values in found["values"].items())
    return "; ".join(parts)


def _value(values: list[Any]) -> str:
    text = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


async def try_channels(settings: Configuration, name: str | None) -> list[dict[str, Any]]:
    """Send a message through each channel, or the named channel, and return the outcomes. Raises `ConfigurationError`,
    and `typer.BadParameter` for an unknown name.
    """
    channels = () if settings.approvals is None else build_channels(settings.approvals, time.time)
    chosen = [channel for channel in channels if name in {None, channel.name}]
    if name is not None and not chosen:
        known = ", ".join(channel.name for channel in channels) or "none"
        raise typer.BadParameter(f"no channel has the name {name!r}; there are: {known}", param_hint="--channel")
    return list(await asyncio.gather(*map(_try, chosen)))


async def _try(channel: ApprovalChannel) -> dict[str, Any]:
    problem = None
    try:
        await channel.send(NoticeMessage(f"msg_{secrets.token_hex(16)}", "test"), ATTEMPT_SECONDS)
    except UndeliveredError as error:
        problem = error.problem
    finally:
        await channel.aclose()
    return {"channel": channel.name, "place": channel.place, "delivered": problem is None, "problem": problem}
