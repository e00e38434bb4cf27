"""Seed faults into security-relevant functions, one at a time, and tell which of them the tests find.

`python tools/seed_faults.py --count 60 --seed 1` works on a copy of the tree. For each fault it runs the tests that import
the module, then those of its part. A fault that no test finds is printed with its place: close it with a test, or see that it changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
COPIED: Final = ("gateway", "opagate", "rego", "tests", "benchmarks", "tools", "docs", "pyproject.toml", "README.md")
PARTS: Final = (
    *("authority", "base/json", "calls", "history", "identity", "inspection", "policy"),
    *("record/journal", "upstreams", "wire/protocol"),
)
SWAPPED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
EMPTY: Final = {"frozenset": "frozenset()", "set": "set()", "tuple": "()", "list": "[]", "dict": "{}", "bool": "False"}


@dataclass(frozen=True)
class Fault:
    """A change of one node. `number` counts the places of the module in the order of `ast.walk`."""

    path: Path
    number: int
    kind: str
    line: int
    function: str


def places(tree: ast.Module) -> Iterator[tuple[str, str, ast.AST, Callable[[], None]]]:
    """Give each place for a fault in the functions of a module: kind, function, node, and the change itself."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                for kind, change in changes(node, function):
                    yield kind, function.name, node, change


def changes(
    node: ast.AST, function: ast.FunctionDef | ast.AsyncFunctionDef
) -> Iterator[tuple[str, Callable[[], None]]]:
    match node:
        case ast.If() | ast.IfExp():
            yield "negate", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.Compare(ops=[operator]) if type(operator) in SWAPPED:
            yield "compare", lambda: setattr(node, "ops", [SWAPPED[type(operator)]()])
        case ast.BoolOp():
            yield "and-or", lambda: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.comprehension(ifs=[_, *_]):
            yield "no-filter", lambda: setattr(node, "ifs", [])
        case ast.Return(value=ast.expr()) if (empty := empty_value(function)) is not None:
            yield "empty", lambda: setattr(node, "value", ast.parse(empty, mode="eval").body)
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "skip", lambda: setattr(node, "value", ast.Constant(None))
        case ast.Call(keywords=[ast.keyword(arg=str()), *_]):
            yield "no-argument", lambda: setattr(node, "keywords", node.keywords[:-1])
        case _:
            return


def empty_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """Return the source of an empty value of what a function returns."""
    annotation = "" if function.returns is None else ast.unparse(function.returns)
    return EMPTY.get(annotation.partition("[")[0])


def all_faults() -> list[Fault]:
    found: list[Fault] = []
    for part in PARTS:
        for path in sorted((ROOT / "gateway" / part).rglob("*.py")):
            for number, (kind, function, node, _) in enumerate(places(ast.parse(path.read_text("utf-8")))):
                line: int = getattr(node, "lineno", 0) or getattr(getattr(node, "target", None), "lineno", 0)
                found.append(Fault(path.relative_to(ROOT), number, kind, line, function))
    return found


def seeded(source: str, fault: Fault) -> str:
    """Return the source of a module with a fault in it."""
    tree = copy.deepcopy(ast.parse(source))
    _, _, _, change = list(places(tree))[fault.number]
    change()
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def tests_of(path: Path) -> list[list[str]]:
    """Return the tests that have a module's name or import it, then all unit tests of its part, then those of its room.

    Some modules meet real services alone, so the tests of interaction count among the first.
    """
    package, stem = ".".join(path.parent.parts), path.stem
    folder = next(found for found in folders_of(path) if found.is_dir())
    named, importing = list[str](), list[str]()
    tests = (test for kind in ("unit", "interaction") for test in sorted((ROOT / "tests" / kind).rglob("test_*.py")))
    for test in tests:
        is_near = test.is_relative_to(folder) or "interaction" in test.parts
        if is_near and test.stem.startswith((f"test_{stem}", f"test_{path.parent.name}_{stem}")):
            named.append(str(test.relative_to(ROOT)))
        elif is_importing(test.read_text("utf-8"), package, stem):
            importing.append(str(test.relative_to(ROOT)))
    room = ROOT / "tests/unit" / path.parts[1]
    folders = [str(found.relative_to(ROOT)) for found in dict.fromkeys((folder, room))]
    groups = [[*named, *importing], *([found] for found in folders)]
    return [group for group in groups if group]


def folders_of(path: Path) -> Iterator[Path]:
    """Give the folders whose tests may concern a module, the nearest first."""
    for parent in path.parents:
        yield ROOT / "tests/unit" / Path(*parent.parts[1:])


def is_importing(text: str, package: str, stem: str) -> bool:
    listed = [line.partition(" import ")[2] for line in text.splitlines() if line.startswith(f"from {package} import ")]
    return f"from {package}.{stem} import" in text or any(stem in line.split(", ") for line in listed)


def how_it_ends(fault: Fault, tree: Path, seconds: int) -> str:
    """Return how the tests end on a fault: `found`, `missed`, or `late` where they run on."""
    target = tree / fault.path
    source = target.read_text("utf-8")
    target.write_text(seeded(source, fault), "utf-8")
    try:
        ends = (run(tests, tree, seconds) for tests in tests_of(fault.path))
        return next((end for end in ends if end != "missed"), "missed")
    finally:
        target.write_text(source, "utf-8")


def run(tests: list[str], tree: Path, seconds: int) -> str:
    """Return how some tests end."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    own = os.environ | {"OPAGATE_TOOLS": os.environ.get("OPAGATE_TOOLS", str(ROOT / ".tools"))}
    try:
        done = subprocess.run(command, cwd=tree, env=own, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "late"
    return "missed" if done.returncode == 0 else "found"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="faults to seed")
    parser.add_argument("--seed", type=int, default=1, help="of the choice among all places")
    parser.add_argument("--seconds", type=int, default=300, help="longest run of the tests for one fault")
    given = parser.parse_args()
    faults = random.Random(given.seed).sample(all_faults(), given.count)  # noqa: S311 - a sample that can be drawn again
    ended: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        for fault in faults:
            end = how_it_ends(fault, Path(folder), given.seconds)
            ended[end] = ended.get(end, 0) + 1
            print(f"{end:9}{fault.kind:12}{fault.path}:{fault.line} {fault.function}", flush=True)
    print(*(f"{count} {end}" for end, count in sorted(ended.items())), sep=", ")


if __name__ == "__main__":
    main()
