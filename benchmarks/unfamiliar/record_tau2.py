"""Runs in the environment that has the `inspect-evals` package, never in the gateway's.

`record_tau2.py FILE [TASKS]` executes the gold actions of retail, airline and banking in the package's tools and databases.
It writes one JSON object a line: for each domain its tools, then its tasks with their calls and results. `TASKS` is a folder
with `retail.json`, `airline.json` and `banking_knowledge.json` to use instead of the package's own tasks.
"""

# The package is not installed where this is checked, and its types with it.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from inspect_ai.util import Store
from inspect_evals.tau2.airline.AirlineAgentTools import AirlineAgentTools
from inspect_evals.tau2.banking.BankingAgentTools import BankingAgentTools
from inspect_evals.tau2.banking.BankingUserTools import BankingUserTools
from inspect_evals.tau2.banking.environment import apply_initial_state
from inspect_evals.tau2.common.tools import calculate, transfer_to_human_agents
from inspect_evals.tau2.data_model.tasks import InitialState
from inspect_evals.tau2.retail.RetailAgentTools import RetailAgentTools

KITS = {"retail": RetailAgentTools, "airline": AirlineAgentTools, "banking_knowledge": BankingAgentTools}
UNLISTED = re.compile(r"_.*|initialize|.*_\d{4}")
"""Methods that are no tool of their own. Banking calls those that end in a number by `call_discoverable_agent_tool`."""


def main() -> None:
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        for domain in KITS:
            file.writelines(json.dumps(item) + "\n" for item in recordings(domain, folder))


def recordings(domain: str, folder: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the tools of a domain, then each task with the agent's calls. Tasks without a call of the agent are left out."""
    suite = domain.removesuffix("_knowledge")
    yield {"kind": "suite", "suite": suite, "tools": tools(domain), "directory": []}
    kit = KITS[domain]()
    kit.initialize()
    fresh = kit.db.model_dump_json()
    for task in read_tasks(domain, folder):
        # Kits share one store unless each is given its own.
        kit = KITS[domain](store=Store(), db=type(kit.db).model_validate_json(fresh), initialized=True)
        steps = [*execute(kit, task)]
        if steps:
            yield {
                "kind": "benign",
                "suite": suite,
                "user": f"task_{str(task['id']).removeprefix('task_')}",
                "goal": goal(task["user_scenario"]["instructions"]),
                "steps": steps,
            }


def read_tasks(domain: str, folder: Path | None) -> list[dict[str, Any]]:
    if folder is not None:
        return json.loads((folder / f"{domain}.json").read_text(encoding="utf-8"))
    own = files("inspect_evals").joinpath(f"tau2/data/domains/{domain}/tasks.json")
    return json.loads(own.read_text(encoding="utf-8"))


def goal(instructions: str | dict[str, Any]) -> str:
    """Return the words that the user of a task is told to say."""
    if isinstance(instructions, str):
        return instructions
    parts = ("reason_for_call", "known_info", "task_instructions")
    return " ".join(str(instructions[part]) for part in parts if instructions.get(part))


def tools(domain: str) -> dict[str, dict[str, Any]]:
    """Return each tool with its description and its arguments, from the code of the package."""
    found: dict[str, dict[str, Any]] = {}
    for name, method in inspect.getmembers(KITS[domain], inspect.isfunction):
        if method.__qualname__.startswith(KITS[domain].__name__) and not UNLISTED.fullmatch(name):
            found[name] = described(method)
    for name, make in common_tools().items():
        found.setdefault(name, described(make))
    return found


def described(method: Callable[..., Any]) -> dict[str, Any]:
    names = [name for name in inspect.signature(method).parameters if name != "self"]
    text = (inspect.getdoc(method) or "").partition("\n\nReturns:")[0]
    return {"description": text, "arguments": {name: {} for name in names}}


def common_tools() -> dict[str, Callable[..., Any]]:
    return {"calculate": calculate(), "transfer_to_human_agents": transfer_to_human_agents()}


def execute(kit: Any, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each call of the agent with its result. Calls of the user change the database, and are no calls of the agent."""
    user = (
        BankingUserTools(store=kit.store, db=kit.db, initialized=True) if isinstance(kit, BankingAgentTools) else None
    )
    if user is not None and task.get("initial_state"):
        apply_initial_state(kit, user, InitialState.model_validate(task["initial_state"]))
    for action in (task.get("evaluation_criteria") or {}).get("actions") or []:
        tool, arguments = action["name"], action["arguments"]
        by_user = action.get("requestor") == "user"
        method = getattr(user if by_user else kit, tool, None) or common_tools().get(tool)
        try:
            result = f"Error: there is no tool {tool}." if method is None else method(**arguments)
            result = asyncio.run(result) if inspect.iscoroutine(result) else result
        except Exception as error:  # noqa: BLE001 - an error is told to the agent as the result
            result = f"Error: {error}"
        if not by_user:
            told = result if isinstance(result, str) else json.dumps(result, default=str)
            yield {"by": "user", "tool": tool, "arguments": arguments, "result": told}


if __name__ == "__main__":
    main()
