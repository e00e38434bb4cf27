"""Packages that the command of a stdio server fetches and runs: `npx`, `uvx`, `docker run` and the like. Pure.

A package without an exact version is another program whenever its author, or whoever has the author's account, says so.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from gateway.base.json import canonical
from gateway.model.errors import ConfigurationError

Registry: TypeAlias = Literal["npm", "pypi", "image"]


class Package(NamedTuple):
    """A package as a command names it. `version` is its exact version, `None` without one."""

    runner: str
    registry: Registry
    name: str
    version: str | None
    spec: str

    @property
    def _is_address(self) -> bool:
        return "://" in self.spec or "${" in self.spec

    def describe_problem(self) -> str | None:
        """Return the problem of a package without an exact version."""
        if self.version is not None:
            return None
        # An address may hold a credential.
        shown = "a package from an address" if self._is_address else self.name
        return f"{self.runner} runs {shown} in whatever version there is"

    def describe_remedy(self) -> str:
        """Return how an exact version is written for the runner."""
        if self._is_address:
            return "name the whole commit behind the address, as @COMMIT or #COMMIT"
        return f"name the version that you looked at, such as {self._example()}"

    def _example(self) -> str:
        return {"npm": f"{self.name}@1.2.3", "pypi": f"{self.name}==1.2.3", "image": f"{self.name}@sha256:…"}[
            self.registry
        ]


class _Runner(NamedTuple):
    """A program that fetches packages. `verbs` are the words before the package. `naming` are options with a package in the place of the
    first word, `adding` ones with a further package, `valued` others with a value."""

    registry: Registry
    verbs: tuple[tuple[str, ...], ...]
    naming: frozenset[str] = frozenset()
    adding: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()


_NPM_VALUED: Final = frozenset(
    {"--cache", "--registry", "--userconfig", "-w", "--workspace", "--prefix", "--loglevel", "--node-options"}
)
_UV_VALUED: Final = frozenset(
    {
        *(
            "--python",
            "-p",
            "--index",
            "--index-url",
            "-i",
            "--default-index",
            "--extra-index-url",
            "--find-links",
            "-f",
        ),
        *(
            "--cache-dir",
            "--constraints",
            "-c",
            "--overrides",
            "--build-constraints",
            "-b",
            "--env-file",
            "--directory",
        ),
        *("--project", "--config-file", "--color", "--with-requirements", "--with-editable", "--index-strategy"),
        *("--keyring-provider", "--resolution", "--prerelease", "--exclude-newer", "--link-mode", "--refresh-package"),
        *("--config-setting", "-C", "--upgrade-package", "-P", "--reinstall-package", "--allow-insecure-host"),
    }
)
_CONTAINER_VALUED: Final = frozenset(
    {
        *("-e", "--env", "--env-file", "-v", "--volume", "--mount", "--name", "-p", "--publish", "--network", "--net"),
        *("-u", "--user", "-w", "--workdir", "--entrypoint", "-l", "--label", "-m", "--memory", "--cpus", "--add-host"),
        *("--platform", "--pull", "--cap-add", "--cap-drop", "--security-opt", "--tmpfs", "-h", "--hostname", "--gpus"),
        *(
            "--device",
            "--dns",
            "--ulimit",
            "--log-driver",
            "--log-opt",
            "--restart",
            "--runtime",
            "--shm-size",
            "--pid",
        ),
        *("--ipc", "--userns", "--cgroupns", "--pids-limit", "--memory-swap", "--stop-timeout", "--cidfile", "-a"),
        *("--attach", "--group-add", "--ip", "--mac-address", "--expose", "--link", "--volumes-from", "--sysctl", "-c"),
    }
)
_NPX: Final = _Runner("npm", ((),), frozenset({"-p", "--package"}), valued=_NPM_VALUED)
_UVX: Final = _Runner("pypi", ((),), frozenset({"--from"}), frozenset({"--with", "-w"}), _UV_VALUED)
_CONTAINER: Final = _Runner("image", (("run",), ("container", "run")), valued=_CONTAINER_VALUED)
_RUNNERS: Final[Mapping[str, _Runner]] = {
    "npx": _NPX,
    "pnpx": _NPX,
    "bunx": _NPX,
    "npm": _NPX._replace(verbs=(("exec",), ("x",))),
    "pnpm": _NPX._replace(verbs=(("dlx",), ("exec", "dlx"))),
    "yarn": _NPX._replace(verbs=(("dlx",),)),
    "bun": _NPX._replace(verbs=(("x",),)),
    "uvx": _UVX,
    "uv": _UVX._replace(verbs=(("tool", "run"), ("x",))),
    "pipx": _Runner(
        "pypi", (("run",),), frozenset({"--spec"}), frozenset({"--with"}), frozenset({"--python", "--pip-args"})
    ),
    "docker": _CONTAINER,
    "podman": _CONTAINER,
    "nerdctl": _CONTAINER,
}
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ash", "cmd", "powershell", "pwsh"})
_WRAPPERS: Final = frozenset(
    {"env", "nice", "nohup", "time", "timeout", "stdbuf", "sudo", "exec", "command", "caffeinate"}
)
_SUFFIXES: Final = re.compile(r"(?i)\.(?:exe|cmd|bat|ps1)$")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SEPARATORS: Final = re.compile(r"[;&|\n]+")

_SEMVER: Final = re.compile(r"v?\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_NPM: Final = re.compile(r"(?P<name>(?:@[^@/\s]+/)?[^@/\s:]+)(?:@(?P<version>.*))?", re.DOTALL)
_NPM_ALIAS: Final = re.compile(r"(?:npm|jsr):(?P<spec>.+)", re.DOTALL)
_PEP440: Final = re.compile(r"(?:\d+!)?\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?(?:\+[a-z0-9.]+)?")
_PYPI: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:(?:===?|@)\s*(?P<version>[^\s,;]+))?(?P<rest>.*)",
    re.DOTALL,
)
_COMMIT: Final = re.compile(r"[@#]([0-9a-f]{40}|[0-9a-f]{64})(?:$|[#&])")
_IMAGE: Final = re.compile(r"(?P<name>[^@]+)@(?P<version>sha256:[0-9a-f]{64})")
_DENO: Final = re.compile(r"(?:npm|jsr|https?):.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PackageLock:
    """The exact packages of one server, down to the last dependency, each with the digest of its files.

    `versions` are those of the packages that the command names. `tree` is a package-lock of npm without addresses, or lines
    of requirements with hashes.
    """

    registry: Literal["npm", "pypi"]
    versions: Mapping[str, str]
    tree: Any

    @property
    def digest(self) -> str:
        """Return the SHA-256 of all of it."""
        return canonical.digest({"registry": self.registry, "versions": dict(self.versions), "tree": self.tree})

    def list_versions(self) -> dict[str, str]:
        """Return the version of each package in the tree, by its place in it."""
        if self.registry == "npm":
            found = {path: str(entry.get("version")) for path, entry in self.tree["packages"].items() if path}
            return {path.removeprefix("node_modules/"): version for path, version in found.items()}
        return dict(line.partition(" ")[0].split("==", 1) for line in self.tree)


@dataclass(frozen=True, slots=True)
class LockableCommand:
    """A runner's command whose packages the gateway can install itself.

    `program` is the name of the program in the packages; empty for the program of the first package.
    """

    registry: Literal["npm", "pypi"]
    packages: tuple[Package, ...]
    program: str
    arguments: tuple[str, ...]
    python: str | None = None

    def requirements(self) -> dict[str, str]:
        """Return what the command asks of each package, by name, as the registry's own installer reads it."""
        if self.registry == "npm":
            return {
                package.name: package.spec.removeprefix(package.name).lstrip("@") or "latest"
                for package in self.packages
            }
        return {
            _normal_name(package.name): _PYPI_AT.sub(r"==\1", _PYPI_LATEST.sub("", package.spec))
            for package in self.packages
        }

    def require_same(self, lock: PackageLock, upstream: str) -> None:
        """Raise `ConfigurationError` if the command asks for another package or version than the locked one."""
        for package in self.packages:
            name = package.name if self.registry == "npm" else _normal_name(package.name)
            locked = lock.versions.get(name) if lock.registry == self.registry else None
            if locked is None or package.version not in {None, locked}:
                has = f"the lock has {locked}" if locked is not None else "the lock does not have it"
                raise ConfigurationError(
                    f"upstreams.{upstream}.command asks for {package.spec}, and {has}",
                    f"look at the new version, then: opagate catalogue pin {upstream}",
                )


_LOCKABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "npx": (), "pnpx": (), "bunx": (), "uvx": (), "uv": ("tool", "run")
}  # fmt: skip
"""Runners with the verbs before their options."""
_WITHOUT_EFFECT: Final = frozenset(
    {"-y", "--yes", "-q", "--quiet", "--silent", "--prefer-offline", "--isolated", "--no-progress"}
)
_NPM_NAME: Final = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_NPM_ELSEWHERE: Final = re.compile(r"(?i)/|^\.{1,2}$|\.(?:tgz|tar|tar\.gz)$")
"""A version that npm reads as a repository (`owner/name`), a folder or a file."""
_PYPI_LATEST: Final = re.compile(r"\s*@\s*latest$")
_PYPI_AT: Final = re.compile(r"\s*@\s*(\d\S*)$")


def find_lockable(command: Sequence[str]) -> LockableCommand | None:
    """Return the parts of a command whose packages can be locked; `None` for any other, such as one with an index of its own."""
    words = list(command)
    program = _program(words[0]) if words else ""
    verbs = _LOCKABLE.get(program)
    if verbs is None or tuple(words[1 : 1 + len(verbs)]) != verbs:
        return None
    return _read_lockable(program, _RUNNERS[program], words[1 + len(verbs) :])


def _read_lockable(program: str, runner: _Runner, words: list[str]) -> LockableCommand | None:
    """Return a runner's words taken apart: its options, the program, and the arguments of the program."""
    specs: list[str] = []
    is_named, python = False, None
    while words and words[0].startswith("-"):
        option, equals, value = words.pop(0).partition("=")
        if option in runner.naming | runner.adding and (equals or words):
            specs.append(value if equals else words.pop(0))
            is_named = is_named or option in runner.naming
        elif option in {"-p", "--python"} and runner is not _NPX and (equals or words):
            python = value if equals else words.pop(0)
        elif equals or option not in _WITHOUT_EFFECT | {"--"}:
            return None
    if not words:
        return None
    first, arguments = words[0], tuple(words[1:])
    packages = tuple(_package(program, runner, spec) for spec in (specs if is_named else [first, *specs]))
    if not all(map(_is_in_registry, packages)):
        return None
    if runner.registry == "npm":
        return LockableCommand("npm", packages, first if is_named else "", arguments)
    return LockableCommand("pypi", packages, first if is_named else packages[0].name, arguments, python)


def _is_in_registry(package: Package) -> bool:
    if "${" in package.spec or ":" in package.spec or "\n" in package.spec:
        return False
    if package.registry == "npm":
        wanted = package.spec.removeprefix(package.name).removeprefix("@")
        return _NPM_NAME.fullmatch(package.name) is not None and _NPM_ELSEWHERE.search(wanted) is None
    return _PYPI.fullmatch(package.spec) is not None and "/" not in package.spec


def _normal_name(name: str) -> str:
    """Return the name of a package as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_packages(command: Sequence[str]) -> tuple[Package, ...]:
    """Return the packages that a command fetches and runs."""
    return tuple(_packages(list(command)))


def _packages(words: list[str]) -> Iterator[Package]:
    words = _unwrap(words)
    if not words:
        return
    program, rest = _program(words[0]), words[1:]
    if program in _SHELLS:
        yield from _in_shell(rest)
    elif program == "deno":
        yield from (_npm(program, _deno_spec(word)) for word in rest if _DENO.fullmatch(word))
    elif (runner := _RUNNERS.get(program)) is not None:
        for verbs in runner.verbs:
            if (named := _after(rest, verbs)) is not None:
                yield from (_package(program, runner, spec) for spec in _specs(runner, named))
                return


def _unwrap(words: list[str]) -> list[str]:
    """Return the inner command of wrappers such as `env` and `timeout`."""
    while words and _program(words[0]) in _WRAPPERS:
        words = words[1:]
        while words and (words[0].startswith("-") or _ASSIGNMENT.fullmatch(words[0]) or words[0].isdecimal()):
            words = words[1:]
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return words


def _program(word: str) -> str:
    return _SUFFIXES.sub("", re.split(r"[/\\]", word)[-1]).lower()


def _in_shell(rest: list[str]) -> Iterator[Package]:
    """Yield the packages of a shell's own command, in one word or in several."""
    words = [word for word in rest if not re.fullmatch(r"-\w+|/[A-Za-z]", word)]
    for part in _SEPARATORS.split(" ".join(words) if len(words) == 1 else shlex.join(words)):
        try:
            yield from _packages(shlex.split(part))
        except ValueError:
            continue


def _after(rest: list[str], verbs: tuple[str, ...]) -> list[str] | None:
    """Return the words behind a runner's verbs; options may stand before them."""
    left = list(rest)
    for verb in verbs:
        while left and left[0].startswith("-"):
            left = left[1:]
        if not left or left[0] != verb:
            return None
        left = left[1:]
    return left


def _specs(runner: _Runner, words: list[str]) -> Iterator[str]:
    """Yield the packages of a runner's words: of its options, and the first word if no option names one."""
    is_named, ahead = False, iter(words)
    for word in ahead:
        option, equals, value = word.partition("=")
        if word == "--":
            continue
        if not word.startswith("-"):
            if not is_named:
                yield word
            return
        if option in runner.naming | runner.adding:
            is_named = is_named or option in runner.naming
            yield value if equals else next(ahead, "")
        elif option in runner.valued and not equals:
            next(ahead, None)


def _package(program: str, runner: _Runner, spec: str) -> Package:
    match runner.registry:
        case "npm":
            return _npm(program, spec)
        case "pypi":
            return _pypi(program, spec)
        case "image":
            found = _IMAGE.fullmatch(spec)
            name = spec.partition("@")[0]
            return Package(program, "image", name, None if found is None else found["version"], spec)


def _deno_spec(word: str) -> str:
    found = _NPM_ALIAS.fullmatch(word)
    # A path behind the version names a file of the package.
    return word if found is None else re.sub(r"^/?((?:@[^/]+/)?[^/]+).*$", r"\1", found["spec"])


def _npm(program: str, spec: str) -> Package:
    found = _NPM.fullmatch(spec)
    if found is None:
        return Package(program, "npm", spec, _commit(spec), spec)
    version = found["version"] or ""
    if alias := _NPM_ALIAS.fullmatch(version):
        return _npm(program, alias["spec"])._replace(spec=spec)
    exact = version if _SEMVER.fullmatch(version) else _commit(spec)
    return Package(program, "npm", found["name"], exact, spec)


def _pypi(program: str, spec: str) -> Package:
    found = _PYPI.fullmatch(spec.strip())
    if found is None or "://" in spec:
        return Package(program, "pypi", spec if found is None else found["name"], _commit(spec), spec)
    version, rest = found["version"], found["rest"].partition(";")[0].strip()
    exact = version if version and not rest and _PEP440.fullmatch(version) else None
    return Package(program, "pypi", found["name"], exact, spec)


def _commit(spec: str) -> str | None:
    """Return the commit of a package from a repository, if the whole commit is named."""
    found = _COMMIT.search(spec)
    return None if found is None else found[1]
