"""What the project says it depends on is locked: a fresh machine installs the lock files and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from datetime import date
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUN: list[str] = PROJECT["project"]["dependencies"]
OPA: list[str] = PROJECT["project"]["optional-dependencies"]["opa"]
AWS: list[str] = PROJECT["project"]["optional-dependencies"]["aws"]
POSTGRESQL: list[str] = PROJECT["project"]["optional-dependencies"]["postgresql"]
PASSKEYS: list[str] = PROJECT["project"]["optional-dependencies"]["passkeys"]
WORKERS: list[str] = PROJECT["project"]["optional-dependencies"]["workers"]
EXTRAS = OPA + AWS + POSTGRESQL + PASSKEYS + WORKERS
TEST: list[str] = PROJECT["dependency-groups"]["test"]


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


@pytest.mark.parametrize(
    ("file", "declared"),
    [
        ("run.txt", RUN),
        ("opa.txt", RUN + OPA),
        ("aws.txt", RUN + OPA + AWS),
        ("postgresql.txt", RUN + OPA + AWS + POSTGRESQL),
        ("passkeys.txt", RUN + OPA + AWS + POSTGRESQL + PASSKEYS),
        ("workers.txt", RUN + EXTRAS),
        ("test.txt", RUN + EXTRAS + TEST),
        ("lint.txt", PROJECT["dependency-groups"]["lint"]),
        ("build.txt", PROJECT["dependency-groups"]["build"]),
    ],
)
def test_each_declared_dependency_is_locked_with_its_hashes(file: str, declared: list[str]):
    locked = (ROOT / "requirements" / file).read_text("utf-8")
    pinned = re.findall(r"^([A-Za-z0-9._-]+)(?:\[\S+\])?==.*\\\n    --hash=sha256:", locked, re.MULTILINE)

    assert names(declared) - names(pinned) == set()


DEPENDENCIES = (ROOT / "docs/dependencies.md").read_text("utf-8")
PAGE = re.findall(
    r"^\| ([a-z0-9-]+) \| (\d\S*) \| (\S+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
    DEPENDENCIES,
    re.MULTILINE,
)
"""The rows of the page: package, locked version, its day, the maintainer, place on the data path, and the reason."""


def test_the_page_gives_a_reason_for_each_declared_dependency():
    assert sorted(name for name, *_ in PAGE) == sorted(names(RUN + EXTRAS))
    assert {name: path for name, _, _, _, path, _ in PAGE if not re.match(r"(yes|no|only)\b", path)} == {}
    assert {name: reason for name, *_, reason in PAGE if not reason.endswith(".")} == {}


def test_the_page_names_the_version_that_is_locked():
    locked = (ROOT / "requirements/workers.txt").read_text("utf-8")
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", locked, re.MULTILINE))

    assert {name: version for name, version, *_ in PAGE} == {name: versions.get(name) for name, *_ in PAGE}


def test_each_release_on_the_page_is_older_than_the_last_check():
    checked = re.search(r"^Last check: (\d{4}-\d\d-\d\d)\.", DEPENDENCIES, re.MULTILINE)

    assert checked
    day = date.fromisoformat(checked[1])
    assert [name for name, _, released, *_ in PAGE if date.fromisoformat(released) > day] == []


LATER = {"compression"}
"""Modules that the standard library has since Python 3.14."""


def imported(*folders: str) -> dict[str, str]:
    """Return each top-level name of another project that the modules of these folders import, with a module that does."""
    own = {"gateway", "opagate", "tests", "benchmarks", "tools", *(path.stem for path in (ROOT / "tools").glob("*.py"))}
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | LATER | own}


@pytest.mark.parametrize(
    ("folders", "declared", "elsewhere"),
    [
        (("gateway",), RUN + EXTRAS, set[str]()),
        # The benchmarks on recorded tasks install these by themselves.
        (
            ("tests", "benchmarks"),
            RUN + EXTRAS + TEST,
            {"agentdojo", "inspect_ai", "inspect_evals"},
        ),
    ],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], declared: list[str], elsewhere: set[str]):
    """A dependency of a dependency may go with any release of it."""
    known = packages_distributions()
    undeclared = {
        name: path
        for name, path in imported(*folders).items()
        if name not in elsewhere and not names(declared) & names(known.get(name, []))
    }

    assert undeclared == {}


def test_a_plain_install_and_one_with_an_extra_have_the_same_releases():
    locked = {
        file: set(
            re.findall(
                r"^([A-Za-z0-9._-]+(?:\[\S+\])?==\S+)", (ROOT / "requirements" / file).read_text("utf-8"), re.MULTILINE
            )
        )
        for file in ("run.txt", "opa.txt", "aws.txt", "postgresql.txt", "test.txt")
    }

    assert locked["run.txt"] < locked["opa.txt"] < locked["aws.txt"] < locked["postgresql.txt"] < locked["test.txt"]


def test_only_the_commands_that_administer_an_opa_import_their_extra():
    """A plain install has neither."""
    library = {"opa_client", "requests", "urllib3"}
    importing = {
        path.name
        for path in (ROOT / "gateway").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.partition(".")[0] in library
    }

    assert importing == {"opa_admin.py"}


@pytest.mark.parametrize("target", ["run", "test", "lint"])
def test_what_a_target_installs_is_locked_with_hashes_or_is_the_project_itself(target: str):
    rule = re.search(
        rf"^\$\(VENV\)/\.{target}: .+\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert rule
    installs = [line for line in rule[1].splitlines() if " install " in line]

    assert installs
    assert [line for line in installs if not re.search(r"--require-hashes -r |--no-deps .*-e \.$", line)] == []


def test_no_lock_names_where_packages_come_from():
    locks = [*(ROOT / "requirements").glob("*.txt"), *(ROOT / "tools").rglob("package*.json"), ROOT / "pyproject.toml"]
    named = re.compile(r"--(extra-)?index-url|--find-links|\"resolved\"|https?://\S*(pypi|pythonhosted|npmjs)")

    assert len(locks) >= 7
    assert [path.name for path in locks if named.search(path.read_text("utf-8"))] == []
