"""`opagate policy cost`: the questions and refusals of a policy on recorded sessions, and the settings to avoid
both."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, JsonOption
from gateway.surfaces.cli.policy_options import GrantsOption, PathOption
from gateway.surfaces.cli.terminal import describe_count, emit, out, paint, plain, show, table

if TYPE_CHECKING:
    from gateway.config import PolicySettings
    from gateway.inspection.inspector import Inspector
    from gateway.surfaces.replay.cost import PolicyCost, RuleCost, Setting

_SHOWN: Final = 10
"""Settings of one rule that are shown on a terminal, the most useful ones first."""


def cost(
    traces: Annotated[list[Path], typer.Argument(metavar="TRACE", help="Files of traces, one JSON object a line.")],
    path: PathOption = None,
    grants: GrantsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the questions and refusals of each rule on recorded sessions, and show the settings that would avoid them.

    `opagate journal export --format trace` writes the sessions of your own gateway. A question counts as not approved.
    """
    from gateway.surfaces.cli.policy import policy_settings
    from gateway.surfaces.cli.replay import operator_inspector
    from gateway.surfaces.replay import check

    chosen, inspector = policy_settings(path, grants, config), operator_inspector(config)
    for trace in traces:
        check(trace)
    found = loop.run(_measure(traces, chosen, inspector))
    if as_json:
        emit(_document(found))
    else:
        _show(found)


async def _measure(traces: list[Path], chosen: PolicySettings, inspector: Inspector | None) -> PolicyCost:
    from gateway.surfaces.cli.replay import every_trace, start_policy
    from gateway.surfaces.replay import replay
    from gateway.surfaces.replay.cost import PolicyCost

    found = PolicyCost()
    async with AsyncExitStack() as stack:
        policy = await start_policy(stack, chosen)
        async for outcome in replay(
            every_trace(traces), policy.decide, inspector=inspector, facts=lambda: policy.facts
        ):
            found.add(outcome)
    return found


def _document(found: PolicyCost) -> dict[str, object]:
    return {
        "tasks": found.tasks,
        "steps": found.steps,
        "questions": found.questions,
        "asked_tasks": found.asked_tasks,
        "refused_tasks": found.refused_tasks,
        "rules": [
            {
                "code": code,
                "asked": rule.asked,
                "refused": rule.refused,
                "tasks": rule.tasks,
                "first": rule.first,
                "without_setting": rule.without,
                "settings": [
                    {"where": setting.where, "yaml": setting.yaml, "steps": steps}
                    for setting, steps in rule.settings.most_common()
                ],
            }
            for code, rule in _by_cost(found)
        ],
    }


def _show(found: PolicyCost) -> None:
    rows = table("rule", "asked", "refused", "tasks", "first at")
    for code, rule in _by_cost(found):
        rows.add_row(code, str(rule.asked), str(rule.refused), str(rule.tasks), plain(rule.first))
    if found.rules:
        show(rows)
    each = found.questions / found.tasks if found.tasks else 0.0
    out.print(
        f"{describe_count(found.tasks, 'task')}: {found.asked_tasks} {'was' if found.asked_tasks == 1 else 'were'} asked about,"
        f" {found.refused_tasks} had a refusal;"
        f" {each:.2f} questions a task."
    )
    for code, rule in _by_cost(found):
        _show_settings(code, rule)


def _show_settings(code: str, rule: RuleCost) -> None:
    out.print()
    out.print(Text.assemble(paint("ask", code), ": settings that would end it"))
    for setting, steps in rule.settings.most_common(_SHOWN):
        _show_setting(setting, steps)
    if (more := len(rule.settings) - _SHOWN) > 0:
        out.print(f"  and {more} more; --json names all")
    if rule.without:
        out.print(f"  no setting for {rule.without} of its steps; docs/policy/history.md says what the rule is for")


def _show_setting(setting: Setting, steps: int) -> None:
    out.print(f"  {steps} × in {setting.where}:", markup=False)
    for text in setting.yaml.splitlines():
        out.print(Text("      ").append_text(plain(text)))


def _by_cost(found: PolicyCost) -> list[tuple[str, RuleCost]]:
    return sorted(found.rules.items(), key=lambda item: (-item[1].asked - item[1].refused, item[0]))
