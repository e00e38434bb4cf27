"""`python -m benchmarks`: the gateway's added latency and throughput beside peers. Several minutes; wants a quiet machine.

`--quick` runs one short round. Everything stays on loopback and is bounded in time.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from benchmarks.gateway import agentgateway, growth, targets
from benchmarks.gateway.approvals import approvals
from benchmarks.gateway.call_path import call_path
from benchmarks.gateway.facts import facts, page
from benchmarks.gateway.fairness import fairness
from benchmarks.gateway.history import history
from benchmarks.gateway.isolation import isolation
from benchmarks.gateway.load import Load, run
from benchmarks.gateway.memory import memory
from benchmarks.gateway.minting import minting
from benchmarks.gateway.report import Measured, cost_between, picture, ratios, table
from gateway.inspection.words import native
from gateway.inspection.words.native import choose

LOADS = (Load(1, pause=0.005), Load(1), Load(16), Load(64))
DOCS = targets.ROOT / "docs/benchmarks"
HEAD = """\
# The gateway beside other proxies

    make bench                     # writes this page; several minutes, on a quiet machine
    make bench ARGS=--quick        # one short round, nothing written
    make bench ARGS=approvals      # what approvals cost, nothing written; exit status 1 beyond a goal
    make bench ARGS=minting        # what a token of a call costs, the same
    make bench ARGS=isolation      # what the sandbox of a stdio server costs, the same
    make bench ARGS=path           # functions, files and time of one call in this process, the same
    make bench ARGS=facts          # what declared facts add to a call: facts.md
    make bench ARGS=growth         # one call beside many tokens, grants, tasks and others: growth.md
    make bench ARGS=authority      # how fast lent credentials die: authority.md
    make bench ARGS=console        # what the console costs: console.md
    make bench ARGS=replicas       # what a history that gateways share costs, and whether its limits hold: replicas.md
    make bench ARGS=second-day     # silent sockets, renewed certificates, a stop and new keys: second-day.md

`make bench ARGS="path --core native"` shows one call with the native core, where `make core` has installed it.
agentgateway joins where its binary is at `.tools/bench/agentgateway`, or at the path in `OPAGATE_BENCH_AGENTGATEWAY`.
"""
PICTURE = "![The distribution of latencies at one connection](latency.svg)"


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, {targets.LOAD_CORE})
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.part:
            raise SystemExit(not PARTS[options.part](folder, options))
        measure_all(folder, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, nothing written")
    parser.add_argument("--without", nargs="*", default=[], help="targets to leave out, for example fastmcp mcp-proxy")
    parser.add_argument("--rounds", type=int, default=5, help="how often each target is measured at each concurrency")
    parser.add_argument("part", nargs="?", choices=sorted(PARTS), help="measure this part alone, and write nothing")
    parser.add_argument(
        "--core", choices=("python", "native"), default="python", help="with path: the implementation to measure"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="with authority, console, facts, growth, replicas or second-day: write its page in docs/benchmarks",
    )
    return parser.parse_args()


def measure_all(folder: Path, options: argparse.Namespace) -> None:
    """Measure and print everything but the parts that have pages of their own. Write the page, unless in haste."""
    rounds, seconds = (1, 1.5) if options.quick else (options.rounds, 2.0)
    measured = measure(folder, rounds=rounds, seconds=seconds, without=options.without)
    text = report(measured)
    print(text)
    resources = memory(folder / "memory", quick=options.quick)
    print(resources)
    shared = fairness(folder / "fairness", quick=options.quick)
    print(shared)
    os.sched_setaffinity(0, {targets.TARGET_CORE})
    past = history(folder / "history", quick=options.quick)
    print(past)
    asked = approvals(folder / "approvals", quick=options.quick).table()
    print(asked)
    if not options.quick:
        DOCS.mkdir(exist_ok=True)
        (DOCS / "latest.md").write_text(
            f"{HEAD}\n{text}\n\n{PICTURE}\n\n{shared}\n\n{resources}\n\n{past}\n\n{asked}\n"
        )
        (DOCS / "latency.svg").write_text(picture(measured, Load(1)))


def one_call(folder: Path, options: argparse.Namespace) -> bool:
    """Count what a call enters in this process. Return whether each figure reaches its goal."""
    os.sched_setaffinity(0, {targets.TARGET_CORE})
    native.bind(choose(options.core))
    found = call_path(folder / "path", quick=options.quick)
    print(found.table())
    return found.is_within_goals()


def open_questions(folder: Path, options: argparse.Namespace) -> bool:
    """Measure what approvals cost. Return whether each figure reaches its goal."""
    os.sched_setaffinity(0, {targets.TARGET_CORE})
    found = approvals(folder / "approvals", quick=options.quick)
    print(found.table())
    return found.is_within_goals()


def minted_tokens(_folder: Path, _options: argparse.Namespace) -> bool:
    """Measure what a token of a call costs. Return whether each figure reaches its goal."""
    costs = minting()
    print(costs.table())
    return costs.is_within_goals()


def lent_credentials(folder: Path, options: argparse.Namespace) -> bool:
    """Measure the ends of lent credentials. Return whether each figure reaches its goal."""
    from benchmarks.authority import page  # noqa: PLC0415 - its issuers are those of the tests, and need pytest

    figures = page.authority(folder, quick=options.quick, without=options.without)
    text = page.describe(figures, quick=options.quick)
    print(text)
    if options.write:
        page.write(text)
    return all(figure.is_within_goal() for figure in figures)


def console_pages(folder: Path, options: argparse.Namespace) -> bool:
    """Measure the pages of the console. Return whether each figure reaches its goal."""
    from benchmarks.console import page  # noqa: PLC0415 - it needs a browser

    found = page.console(folder, quick=options.quick)
    text = page.describe(found, quick=options.quick)
    print(text)
    if options.write:
        page.write(text)
    return found.is_within_goals()


def cost_of_growth(folder: Path, options: argparse.Namespace) -> bool:
    """Measure one call beside many of each thing. Return whether each figure reaches its goal."""
    os.sched_setaffinity(0, {targets.TARGET_CORE})
    found = growth.growth(folder, quick=options.quick)
    text = growth.page(found)
    print(text)
    if options.write:
        (DOCS / "growth.md").write_text(f"{text}\n")
    return all(each.is_within_goal() for each in found)


def declared_facts(_folder: Path, options: argparse.Namespace) -> bool:
    """Measure what declared facts add to a call. Return whether each figure reaches its goal."""
    os.sched_setaffinity(0, {targets.TARGET_CORE})
    found = facts(quick=options.quick)
    text = page(found)
    print(text)
    if options.write:
        (DOCS / "facts.md").write_text(text)
    return all(each.is_within_goal() for each in found)


def second_day_changes(folder: Path, options: argparse.Namespace) -> bool:
    """Measure what changes of a running gateway take. Return whether each figure reaches its goal."""
    from benchmarks.gateway import second_day  # noqa: PLC0415 - its gateways are those of the tests, and need pytest

    found = second_day.second_day(folder / "second-day", quick=options.quick)
    text = second_day.describe(found, quick=options.quick)
    print(text)
    if options.write:
        second_day.write(text)
    return found.is_within_goals()


def shared_history(folder: Path, options: argparse.Namespace) -> bool:
    """Measure what a history that gateways share costs, and whether its limits hold. Return whether each goal is reached."""
    from benchmarks.gateway import replicas  # noqa: PLC0415 - its gateways are those of the tests, and need pytest

    found = replicas.replicas(folder / "replicas", quick=options.quick)
    text = replicas.describe(found, quick=options.quick)
    print(text)
    if options.write:
        replicas.write(text)
    return found.is_within_goals()


def isolated_starts(folder: Path, _options: argparse.Namespace) -> bool:
    """Measure what the sandbox of a stdio server costs."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return isolation(folder)


PARTS: dict[str, Callable[[Path, argparse.Namespace], bool]] = {
    "approvals": open_questions,
    "authority": lent_credentials,
    "console": console_pages,
    "facts": declared_facts,
    "growth": cost_of_growth,
    "isolation": isolated_starts,
    "minting": minted_tokens,
    "path": one_call,
    "replicas": shared_history,
    "second-day": second_day_changes,
}


def measure(folder: Path, *, rounds: int, seconds: float, without: list[str]) -> list[Measured]:
    """All targets run at the same time and are measured in turn, so that the machine's drift hits all alike."""
    measured: list[Measured] = []
    with ExitStack() as stack:
        base = stack.enter_context(targets.direct(folder / "direct"))
        found = [base]
        for name, make in {
            "transport": lambda: targets.transport(folder / "transport", base.request.url),
            "embedded": lambda: targets.opagate(folder / "embedded", base.request.url, engine="embedded"),
            "opa": lambda: targets.opagate(folder / "opa", base.request.url, engine="opa"),
            "here": lambda: targets.opagate(folder / "here", base.request.url, engine="here"),
            "constant": lambda: targets.opagate(folder / "constant", base.request.url, engine="constant"),
            "envoy": lambda: targets.envoy(folder / "envoy", base.request.url),
            "agentgateway": lambda: _agentgateway(folder / "agentgateway", base.request.url),
            "mcp-proxy": lambda: targets.mcp_proxy(folder / "mcp-proxy"),
            "fastmcp": lambda: targets.fastmcp(folder / "fastmcp", base.request.url),
        }.items():
            target = None if name in without else stack.enter_context(make())
            if target is not None:
                found.append(target)
        for target in found:
            asyncio.run(run(target.request, load=Load(4), seconds=0.5))
        for _ in range(rounds):
            for load in LOADS:
                measured += [one(target, load, seconds) for target in found]
    return measured


def _agentgateway(folder: Path, upstream: str) -> AbstractContextManager[targets.Target | None]:
    """Start agentgateway, or say why it is left out."""
    binary = agentgateway.find_binary(targets.TOOLS)
    if binary is None:
        print(agentgateway.ABSENT)
        return nullcontext()
    return targets.agentgateway(folder, upstream, binary)


def one(target: targets.Target, load: Load, seconds: float) -> Measured:
    before = target.cpu_seconds()
    sample = asyncio.run(run(target.request, load=load, seconds=seconds))
    if sample.failures:
        raise SystemExit(f"{target.name}: {sample.failures} of {len(sample.latencies)} answers were wrong")
    return Measured(target.name, load, sample, target.cpu_seconds() - before)


def report(measured: list[Measured]) -> str:
    today = dt.datetime.now(dt.UTC).date()
    head = (
        f"Measured on {today}, CPython {platform.python_version()}, {os.cpu_count()} shared cores: load and echo server on"
        " one, the target on the other. `tools/call` of a 64-byte echo; opagate with the shipped policy, development"
        ' tokens and the journal on; "constant" is the same without decisions; "envoy" has its MCP filter and RBAC on a name; "agentgateway" has a JWT and asks OPA about each call, with a policy of five lines; "transport alone" is its HTTP server and client with nothing between them; "with pauses"'
        " is a call every five milliseconds, as an agent that does something between its calls has it. Medians over"
        " the rounds; compare only within the table."
    )
    mine = "opagate (embedded)"
    peers = ("mcp-proxy", "fastmcp", "envoy", "agentgateway")
    quotients = ratios(measured, mine, peers, Load(16))
    decision = cost_between(measured, mine, "opagate (constant)", Load(16))
    return f"{head}\n\n{table(measured)}\n\n{quotients}\n\n{decision}"


if __name__ == "__main__":
    main()
