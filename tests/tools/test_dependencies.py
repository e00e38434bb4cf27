"""docs/dependencies.md is refreshed from a lock: versions, release days and the day of the check; its words stay."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "dependencies.py"
LOCK = tomllib.loads("""
[[packages]]
name = "anyio"
version = "5.0.0"
sdist = { url = "https://x/anyio.tar.gz", upload-time = 2027-01-03T00:00:00Z, hashes = {} }
wheels = [{ url = "https://x/anyio.whl", upload-time = 2027-01-02T23:59:59Z, hashes = {} }]

[[packages]]
name = "local"
version = "1"
sdist = { path = "local.tar.gz", hashes = {} }
""")
ROWS = """Last check: 2026-01-01.

| package | locked | released |
|---|---|---|
| anyio | 4.16.0 | 2026-06-01 | Alex | no | Threads of 4.16.0. |
"""
TODAY = dt.date(2027, 2, 1)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("opagate_tools_dependencies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_day_of_a_release_is_the_one_of_its_first_file(script: ModuleType):
    assert script.read_releases(LOCK) == {"anyio": ("5.0.0", dt.date(2027, 1, 2))}


def test_a_row_gets_its_version_and_day_and_keeps_its_words(script: ModuleType):
    page = script.refresh_page(ROWS, script.read_releases(LOCK), TODAY)

    assert "| anyio | 5.0.0 | 2027-01-02 | Alex | no | Threads of 4.16.0. |" in page
    assert page.startswith("Last check: 2027-02-01.\n")


def test_a_newer_release_is_named_with_its_day(script: ModuleType):
    locked = {
        "anyio": script.Release("4.16.0", dt.date(2026, 6, 1)),
        "idna": script.Release("3.20", dt.date(2026, 1, 1)),
    }

    assert script.name_newer(locked, script.read_releases(LOCK) | {"idna": locked["idna"]}) == [
        "anyio 4.16.0 is locked; 5.0.0 is out since 2027-01-02"
    ]


def test_a_row_of_a_package_that_is_not_locked_is_named(script: ModuleType):
    with pytest.raises(LookupError, match="'anyio', which no lock has"):
        script.refresh_page(ROWS, {}, TODAY)


def test_a_page_without_the_day_of_the_check_is_refused(script: ModuleType):
    with pytest.raises(LookupError, match="Last check"):
        script.refresh_page(ROWS.replace("Last check", "Checked"), {}, TODAY)


def test_each_row_of_the_page_of_the_project_is_refreshed(script: ModuleType):
    page: str = script.PAGE.read_text("utf-8")
    names = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.count(" | ") == 5]
    releases = {name: script.Release("0", dt.date(2031, 1, 1)) for name in names}

    refreshed = script.refresh_page(page, releases, dt.date(2031, 1, 1))

    # Each table has a heading too.
    assert refreshed.count("| 0 | 2031-01-01 |") == len(names) - 2 >= 28
    assert "Last check: 2031-01-01." in refreshed
