"""Refresh the locked versions and release dates of docs/dependencies.md; `make lock` runs it last.

The dates are upload times of the package index (PEP 700): uv reads them, and writes them as PEP 751 has it.
A package that `pyproject.toml` newly names needs a row by hand first, since the reason is a person's.
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/dependencies.md"
RESOLVE = (
    *("pip", "compile", "-q", "--universal", "--python-version", "3.11", "--no-emit-index-url"),
    *("--format", "pylock.toml", "--extra", "opa", "--extra", "aws"),
    *("--extra", "postgresql", "--extra", "passkeys", "--extra", "workers", "pyproject.toml"),
)
LOCKED = ("-c", "requirements/workers.txt")

_ROW = re.compile(r"^\| ([a-z0-9-]+) \| (\d\S*) \| (\d{4}-\d\d-\d\d) \|", re.MULTILINE)
_CHECKED = re.compile(r"(?<=^Last check: )\d{4}-\d\d-\d\d", re.MULTILINE)


class Release(NamedTuple):
    """A locked version, and the day on which the index received its first file."""

    version: str
    day: dt.date


def refresh_page(page: str, releases: Mapping[str, Release], today: dt.date) -> str:
    """Return the page with the version and day of each row's package, checked today.

    Raises `LookupError` for a row without a locked package, and for a page that names no last check.
    """
    if not _CHECKED.search(page):
        raise LookupError("docs/dependencies.md has no line 'Last check: YYYY-MM-DD.'")

    def row(match: re.Match[str]) -> str:
        if match[1] not in releases:
            raise LookupError(f"docs/dependencies.md names {match[1]!r}, which no lock has; remove its row")
        release = releases[match[1]]
        return f"| {match[1]} | {release.version} | {release.day} |"

    return _CHECKED.sub(str(today), _ROW.sub(row, page))


def read_releases(lock: Mapping[str, Any]) -> dict[str, Release]:
    """Return the releases of a lock in the form of PEP 751. A package without upload times is left out."""
    found: dict[str, Release] = {}
    for package in lock["packages"]:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        times = [file["upload-time"] for file in files if "upload-time" in file]
        if times:
            found[package["name"]] = Release(package["version"], min(times).date())
    return found


def name_newer(locked: Mapping[str, Release], newest: Mapping[str, Release]) -> list[str]:
    """Return a sentence for each locked package of which the index has a newer release within the bounds."""
    return [
        f"{name} {release.version} is locked; {newest[name].version} is out since {newest[name].day}"
        for name, release in locked.items()
        if name in newest and newest[name].version != release.version
    ]


def resolve_releases(uv: str, *constraints: str) -> dict[str, Release]:
    """Return the releases that uv chooses under the given constraints, as the index has them today."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pylock.toml"
        subprocess.run([uv, *RESOLVE, *constraints, "-o", str(path)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return read_releases(tomllib.loads(path.read_text("utf-8")))


def main(arguments: list[str]) -> int:
    """Write the page, and print which packages have newer releases. The only argument is the path of uv."""
    (uv,) = arguments
    today = dt.datetime.now(dt.UTC).date()
    locked = resolve_releases(uv, *LOCKED)
    try:
        page = refresh_page(PAGE.read_text("utf-8"), locked, today)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    PAGE.write_text(page, "utf-8")
    named = {match[1] for match in _ROW.finditer(page)}
    newest = {name: release for name, release in resolve_releases(uv).items() if name in named}
    for sentence in name_newer(locked, newest):
        print(sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
