"""Runs in the environment that has the `bfcl-eval` package, never in the gateway's.

`record_bfcl.py FILE` executes the ground truth of each multi-turn task in the package's own API classes. It writes one
JSON object a line: first the tools, then each task with its calls and their results.
"""

# The package is not installed where this is checked, and its types with it.
# pyright: reportMissingImports=false

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

FOLDER = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
TASKS = "data/BFCL_v4_multi_turn_base.json"
ANSWERS = "data/possible_answer/BFCL_v4_multi_turn_base.json"


def main() -> None:
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(item, default=str) + "\n" for item in recordings())


def recordings() -> Iterator[dict[str, Any]]:
    """Yield the tools with the directory, then each task with the calls of its ground truth."""
    tasks = read_lines(TASKS)
    answers = {answer["id"]: answer["ground_truth"] for answer in read_lines(ANSWERS)}
    yield {"kind": "suite", "suite": "bfcl", "tools": tools(), "directory": directory(tasks)}
    for task in tasks:
        said = [message["content"] for turn in task["question"] for message in turn if message["role"] == "user"]
        calls = [call for turn in answers[task["id"]] for call in turn]
        yield {
            "kind": "benign",
            "suite": "bfcl",
            "user": task["id"],
            "as": account_name(task["initial_config"]),
            "goal": "\n".join(said),
            "steps": [*execute(start_apis(task), calls)],
        }


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files("bfcl_eval").joinpath(name).read_text(encoding="utf-8").splitlines()]


def tools() -> dict[str, dict[str, Any]]:
    """Return each tool with its description and its arguments, from the documents that a model is shown."""
    found: dict[str, dict[str, Any]] = {}
    for module in MODULES.values():
        for tool in read_lines(f"data/multi_turn_func_doc/{module}.json"):
            _, _, described = tool["description"].rpartition("Tool description:")
            found[tool["name"]] = {"description": described.strip(), "arguments": tool["parameters"]["properties"]}
    return found


def directory(tasks: list[dict[str, Any]]) -> list[str]:
    """Return known people: the members of each workspace, and the accounts that the user follows."""
    known: list[str] = []
    for task in tasks:
        known += task["initial_config"].get("MessageAPI", {}).get("user_map", {}).values()
        known += task["initial_config"].get("TwitterAPI", {}).get("following_list", [])
    return sorted({*known})


def account_name(config: dict[str, Any]) -> str | None:
    """Return the name of the user's own account, if a system of the task has one."""
    for system, field in (("TwitterAPI", "username"), ("TicketAPI", "current_user")):
        if name := config.get(system, {}).get(field):
            return str(name)
    return None


def start_apis(task: dict[str, Any]) -> dict[str, Any]:
    started: dict[str, Any] = {}
    for name in task["involved_classes"]:
        api = getattr(importlib.import_module(f"{FOLDER}.{MODULES[name]}"), name)()
        if hasattr(api, "_load_scenario"):
            api._load_scenario(copy.deepcopy(task["initial_config"].get(name, {})), long_context=False)  # noqa: SLF001 - its own runner does the same
        started[name] = api
    return started


def execute(apis: dict[str, Any], calls: list[str]) -> Iterator[dict[str, Any]]:
    """Yield each call with its result. An error is the result that an agent would be told."""
    for text in calls:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise TypeError(f"{text} is no plain call")
        tool = call.func.id
        method = next(getattr(api, tool) for api in apis.values() if hasattr(api, tool))
        names = list(inspect.signature(method).parameters)
        arguments = {name: ast.literal_eval(value) for name, value in zip(names, call.args, strict=False)}
        arguments |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        try:
            result: Any = method(**arguments)
        except Exception as error:  # noqa: BLE001 - the package's own runner tells the agent so
            result = f"Error during execution: {error}"
        if not isinstance(result, str | dict):
            result = json.dumps(result, default=str)
        yield {"by": "user", "tool": tool, "arguments": arguments, "result": result}


if __name__ == "__main__":
    main()
