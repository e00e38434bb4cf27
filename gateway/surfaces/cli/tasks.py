"""`opagate tasks`: the tasks of a running gateway, each with its tree, and their ends."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.options import ConfigOption, JsonOption
from gateway.surfaces.cli.terminal import describe_count, emit, note, paint, plain, say, show, table, write_time

app = typer.Typer(help="The tasks of agents: list them, show a tree, and end one.", no_args_is_help=True)

TaskArgument = Annotated[str, typer.Argument(metavar="ID", help="The task.")]

_GOAL: Final = 60
"""Letters of a goal in a list."""
_AUTHORS: Final = {
    "user": "the user's words",
    "approved": "a person approved the task",
    "partly": "with words of untrusted results, which give no ground",
    "others": "words of untrusted results alone, which give no ground",
}


@app.command("list", epilog="Example: opagate tasks list --user alice")
def list_tasks(
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="The tasks of an agent.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="The tasks for a user, of whichever agents.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="The agent or user of this issuer alone.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also tasks that are over and not yet forgotten.")] = False,
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the tasks of the running gateway, the last used first.

    Tasks with the same job share the marks of their readings: see docs/multi-agent.md.
    """
    found: dict[str, Any] = ask_gateway(at, config, "tasks/list", agent=agent, user=user, issuer=issuer, all=every)
    if as_json:
        emit(found)
        return
    if not found["tasks"]:
        note("no task is known")
        return
    rows = table("id", "status", "agent", "job", "parent", "last used", "goal")
    for one in found["tasks"]:
        cells = (plain(one["agent"]), one["job"], one["parent"] or "-", write_time(one["used"]))
        rows.add_row(one["id"], paint(one["status"]), *cells, plain(_shorten(one)))
    show(rows)
    if found["left_off"]:
        note(f"{describe_count(found['left_off'], 'further task')}: choose by --agent or --user")


@app.command("show", epilog="Example: opagate tasks show task-5f0c1d2e3a4b5c6d7e8f9a0b")
def show_tree(
    task: TaskArgument, at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show the tree of a task: parents and children, agents, goals, and the calls behind their marks.

    A mark stands for untrusted or confidential text, and names the agent and the call with the text in its result.
    """
    found: dict[str, Any] = ask_gateway(at, config, "tasks/show", id=task)
    if as_json:
        emit(found)
        return
    for one in found["tasks"]:
        _show_task(one, is_asked=one["id"] == found["asked"])


@app.command("end", epilog="Example: opagate tasks end task-5f0c1d2e3a4b5c6d7e8f9a0b --reason 'it loops'")
def end(
    task: TaskArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the journal.")] = "",
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a declared task with all tasks below it, their leases and open questions. Open calls go on to their end.

    Its agent may open another task. `opagate stop` keeps an agent from all calls.
    """
    if not reason.strip():
        raise typer.BadParameter("give a --reason, for the journal")
    found: dict[str, Any] = ask_gateway(at, config, "tasks/end", id=task, reason=reason)
    if as_json:
        emit(found)
        return
    below = len(found["ended"]) - 1
    note(f"{task} is cancelled" + (f", with {describe_count(below, 'task')} below it" if below else ""))


def _shorten(task: dict[str, Any]) -> str:
    goal: str = task["goal"] or ("-" if task["kind"] == "declared" else "(implicit)")
    return goal if len(goal) <= _GOAL else f"{goal[: _GOAL - 1]}…"


def _show_task(task: dict[str, Any], *, is_asked: bool) -> None:
    margin = "  " * task["depth"]
    star = "* " if is_asked else "  "
    status = paint(task["status"])
    counts = [describe_count(task["calls"], "call")]
    counts += [f"{task[name]} {word}" for name, word in _COUNTS.items() if task[name]]
    say(f"{margin}{star}{task['id']}  ", status, f"  {task['agent']}  {', '.join(counts)}")
    inner = f"{margin}    "
    if task["goal"] is not None:
        say(f"{inner}goal: {task['goal']}", f" ({_AUTHORS[task['goal_of']]})")
    if task["ground"] is not None:
        say(f"{inner}ground: {' '.join(task['ground'].split())}")
    for mark in task["marks"]:
        say(f"{inner}{_describe_mark(mark)}")


_COUNTS: Final = {"in_flight": "open", "denials": "refused", "approvals_used": "approved"}


def _describe_mark(mark: dict[str, Any]) -> str:
    system = "/".join(mark[name] for name in ("audience", "tenant", "environment") if mark[name])
    call = "outside of a call" if mark["call"] is None else f"call {mark['call']}"
    reader = "by its own" if mark["own"] else f"by {mark['agent']} in {mark['task']},"
    return f"{mark['label']}: {system}, {reader} {call} ({mark['tool']}) at {write_time(mark['at'])}"
