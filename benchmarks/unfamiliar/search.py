"""`python -m benchmarks.unfamiliar.search`: whether the search of `/mcp` finds the tools of the tasks of BFCL and tau2.

All tools of both corpora are one list. A figure is the mean over tasks: the share of a task's tools among the first five.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from benchmarks.corpora.installed import Recording
from benchmarks.unfamiliar import packages
from gateway.calls.endpoint.names import outer_name
from gateway.calls.endpoint.search import ListedTool, ToolSearch, render_found

MOST: Final = 5
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")

Find = Callable[[str], Sequence[ListedTool]]
Ask = Callable[[Find, str, Sequence[ListedTool]], set[str]]


def main() -> None:
    """Print a line for each way to ask."""
    corpora = {"BFCL": packages.bfcl(), "tau2": packages.tau2(None)}
    tools = [tool for recordings in corpora.values() for tool in list_tools(recordings)]
    search = ToolSearch()
    print(f"{len(tools)} tools")
    for name, ask in WAYS.items():
        shares = [find_share(ask, recordings, tools, search) for recordings in corpora.values()]
        print(_row(name, shares))
    suites = [{tool.upstream for tool in list_tools(recordings)} for recordings in corpora.values()]
    print(_row("the first sentence of a tool's description", [find_own_share(tools, of, search) for of in suites]))


def _row(name: str, shares: Iterable[float]) -> str:
    return f"| {name} | {' | '.join(f'{share:.2f}' for share in shares)} |"


def list_tools(recordings: Iterable[Recording]) -> list[ListedTool]:
    """Return the tools of all suites, each suite as an upstream."""
    return [
        ListedTool(suite["suite"], name, f"{suite['suite']}/{name}", _describe(tool))
        for suite in recordings
        if suite["kind"] == "suite"
        for name, tool in suite["tools"].items()
    ]


def _describe(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": tool["description"], "inputSchema": {"type": "object", "properties": tool["arguments"]}}


def find_share(ask: Ask, recordings: Iterable[Recording], tools: Sequence[ListedTool], search: ToolSearch) -> float:
    """Return the mean share of the found tools, over the tasks with a listed tool."""
    listed = {*map(_name, tools)}
    shares: list[float] = []
    for task in recordings:
        if task["kind"] != "benign":
            continue
        needed = {outer_name(task["suite"], step["tool"]) for step in task["steps"]} & listed
        if needed:
            found = ask(lambda query: search.find(query, tools, MOST), task["goal"], tools)
            shares.append(len(needed & found) / len(needed))
    return sum(shares) / len(shares)


def find_own_share(tools: Sequence[ListedTool], of: Collection[str], search: ToolSearch) -> float:
    """Return the share of the tools that the first sentence of their own description finds."""
    own = [tool for tool in tools if tool.upstream in of]
    asked = [(tool, _SENTENCE.split(str(tool.document["description"]))[0] or tool.name) for tool in own]
    return sum(tool in search.find(query, tools, MOST) for tool, query in asked) / len(own)


def _by_sentence(find: Find, goal: str, _tools: Sequence[ListedTool]) -> set[str]:
    return {_name(tool) for sentence in _SENTENCE.split(goal) for tool in find(sentence)}


def _with_others(find: Find, goal: str, tools: Sequence[ListedTool]) -> set[str]:
    """Return the found tools, and those whose names the answers tell beside them."""
    told: set[str] = set()
    for found in map(find, _SENTENCE.split(goal)):
        answer = json.loads(cast("Any", render_found(found, tools))["content"][0]["text"])
        told |= {*map(_name, found), *answer["others"]}
    return told


def _at_once(find: Find, goal: str, _tools: Sequence[ListedTool]) -> set[str]:
    return {*map(_name, find(goal))}


def _name(tool: ListedTool) -> str:
    return outer_name(tool.upstream, tool.name)


WAYS: Final[Mapping[str, Ask]] = {
    "each sentence of the task": _by_sentence,
    "each sentence, with the names of the other tools that the search tells": _with_others,
    "the whole task at once": _at_once,
}


if __name__ == "__main__":
    main()
