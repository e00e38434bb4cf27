"""Packages of a stdio server that the gateway installs itself, as the lock names them, into a folder that the server only reads.

npm and uv check the digest of each file that they fetch. No script of a package runs here: scripts of npm and builds of
Python stay off.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.base.folder_lock import hold_folder
from gateway.config.packages import LockableCommand, PackageLock
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SECONDS: Final = 600
_SAID: Final = 2_000
"""Characters of a failed installer's words that are told."""
_COMPLETE: Final = ".complete"
_NPM: Final = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_KEPT: Final = frozenset(
    {
        "version", "integrity", "name", "bin", "dependencies", "optionalDependencies", "peerDependencies",
        "peerDependenciesMeta", "os", "cpu", "libc", "optional", "peer", "inBundle", "bundleDependencies",
    }
)  # fmt: skip
"""Members of an entry that `npm ci` needs. The address is left out: npm asks the registry that it is set to."""


def resolve(command: LockableCommand, env: Mapping[str, str]) -> PackageLock:
    """Return today's packages of a command, with the digests of the registry.

    Raises `ConfigurationError` for packages without a digest or an exact version.
    """
    with tempfile.TemporaryDirectory(prefix="opagate-") as folder:
        return (_resolve_npm if command.registry == "npm" else _resolve_pypi)(command, Path(folder), env)


def _resolve_npm(command: LockableCommand, folder: Path, env: Mapping[str, str]) -> PackageLock:
    _write_json(folder / "package.json", {"private": True, "dependencies": command.requirements()})
    _run(("npm", "install", "--package-lock-only", *_NPM), folder, env)
    entries: dict[str, dict[str, Any]] = json.loads((folder / "package-lock.json").read_bytes())["packages"]
    versions = {name: str(entries[f"node_modules/{name}"]["version"]) for name in command.requirements()}
    kept = {path: {key: value for key, value in entry.items() if key in _KEPT} for path, entry in entries.items()}
    for path, entry in kept.items():
        if path and not (entry.get("integrity") or entry.get("inBundle")):
            raise ConfigurationError(f"the registry states no digest of {path}", _REMEDY)
    tree = {"name": "server", "lockfileVersion": 3, "packages": {**kept, "": {"dependencies": versions}}}
    return PackageLock("npm", versions, tree)


def _resolve_pypi(command: LockableCommand, folder: Path, env: Mapping[str, str]) -> PackageLock:
    asked = command.requirements()
    (folder / "asked.in").write_text("\n".join(asked.values()) + "\n")
    python = () if command.python is None else ("--python", command.python)
    options = ("--universal", "--generate-hashes", "--no-build", "--no-header", "--no-annotate", "--quiet", *python)
    text = _run(("uv", "pip", "compile", "asked.in", *options), folder, env)
    lines = [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    if not all("==" in line and "--hash=" in line for line in lines):
        raise ConfigurationError("a package is not of the registry, and has no digest", _REMEDY)
    named = dict(line.split(maxsplit=1)[0].split("==", 1) for line in lines)
    return PackageLock("pypi", {name: named[name] for name in asked}, lines)


_REMEDY: Final = "install the server yourself and name its program, or run: opagate catalogue pin --no-packages"


class Installation:
    """The folder of a server's locked packages below the state folder."""

    def __init__(self, command: LockableCommand, lock: PackageLock, state: Path) -> None:
        key = hashlib.sha256(f"{lock.digest}\n{command.python}".encode()).hexdigest()[:32]
        self.folder = state.absolute() / "packages" / key
        self._command = command
        self._lock = lock

    @property
    def is_complete(self) -> bool:
        return (self.folder / _COMPLETE).exists()

    def install(self, env: Mapping[str, str]) -> None:
        """Install the packages unless they are there. Raises `ConfigurationError`, also for a file with another digest."""
        if self.is_complete:
            return
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another gateway or command may install the same.
        with hold_folder(self.folder.parent):
            if self.is_complete:
                return
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700)
            (self._install_npm if self._lock.registry == "npm" else self._install_pypi)(env)
            (self.folder / _COMPLETE).touch()

    def _install_npm(self, env: Mapping[str, str]) -> None:
        _write_json(self.folder / "package.json", {"private": True, **self._lock.tree["packages"][""]})
        _write_json(self.folder / "package-lock.json", self._lock.tree)
        _run(("npm", "ci", *_NPM), self.folder, env)

    def _install_pypi(self, env: Mapping[str, str]) -> None:
        (self.folder / "requirements.txt").write_text("\n".join(self._lock.tree) + "\n")
        python = () if self._command.python is None else ("--python", self._command.python)
        _run(("uv", "venv", "--quiet", *python, "venv"), self.folder, env)
        options = ("--require-hashes", "--no-build", "--no-deps", "--link-mode", "copy", "--quiet")
        where = ("--python", str(self.folder / "venv"))
        _run(("uv", "pip", "install", *where, *options, "-r", "requirements.txt"), self.folder, env)

    def get_command(self) -> tuple[str, ...]:
        """Return the command that runs the installed program."""
        return (str(self._find_program()), *self._command.arguments)

    def _find_program(self) -> Path:
        if self._lock.registry == "pypi":
            return self.folder / "venv" / "bin" / self._command.program
        name = self._command.program or self._name_program(self._command.packages[0].name)
        return self.folder / "node_modules" / ".bin" / name

    def _name_program(self, package: str) -> str:
        """Return the program of a package as npx chooses it: the only program, or the program with the package's name."""
        entry = cast("dict[str, Any]", self._lock.tree["packages"][f"node_modules/{package}"])
        programs: dict[str, str] = entry.get("bin", {})
        return next(iter(programs)) if len(programs) == 1 else package.rpartition("/")[2]


def remove_others(state: Path, kept: Sequence[Path]) -> None:
    """Remove installations of earlier locks."""
    names = {path.name for path in kept}
    for folder in (state / "packages").glob("*"):
        if folder.is_dir() and folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """Run npm or uv in a folder. Return what it wrote. Raises `ConfigurationError` with its words."""
    program = shutil.which(command[0], path=env.get("PATH", os.defpath))
    if program is None:
        raise ConfigurationError(f"{command[0]} is not installed, and locked packages need it", f"install {command[0]}")
    try:
        done = subprocess.run(  # noqa: S603 - npm or uv, with options of ours
            [program, *command[1:]],
            cwd=folder,
            env={**env, "npm_config_update_notifier": "false"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{command[0]} took longer than {_SECONDS} seconds", "try again") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:_SAID]
        raise ConfigurationError(f"{command[0]} cannot give the packages: {said}", _REMEDY)
    return done.stdout


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document))
