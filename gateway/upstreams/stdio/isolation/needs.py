"""The files that a command needs to start: its program with interpreter and libraries, and the paths among its arguments.
Further files of a server are declared in `files`."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_RUNNERS: Final = frozenset({"npx", "npm", "pnpm", "pnpx", "yarn", "bunx", "uvx", "uv", "pipx", "deno"})
"""Programs that fetch a package and keep it in the home."""
VISIBLE_PARTS: Final = "*"
"""The last name of a need for the parts of a folder whose names do not begin with a dot."""
_INTERPRETERS: Final = ("python", "node", "bun", "deno", "ruby", "perl", "php", "sh", "bash", "dash", "lua", "tsx")
_PARTS: Final = ("bin", "lib", "lib64", "libexec", "include", "share", "pyvenv.cfg")
"""Parts of an installed tree that its programs read."""
_DEEPEST: Final = 3
"""Programs that run each other: a script, its interpreter, the program behind a link."""
_FIRST_LINE: Final = 512


def is_package_runner(program: str) -> bool:
    """Return whether a program downloads the package that it runs, such as npx or uvx."""
    return Path(program).name in _RUNNERS


def find_program(program: str, env: Mapping[str, str], cwd: Path) -> Path:
    """Return the path of a program, as the start finds it. Raise `OSError` if there is none."""
    named = str(cwd / program) if os.sep in program else program
    found = shutil.which(named, path=env.get("PATH", os.defpath))
    if found is None:
        missing = "no such program" if os.sep in program else "no such program on the PATH"
        raise FileNotFoundError(errno.ENOENT, f"{program}: {missing}")
    return Path(found).absolute()


def find_needs(
    command: Sequence[str], program: Path, env: Mapping[str, str], cwd: Path, *, is_changeable: Callable[[Path], bool]
) -> Iterator[Path]:
    """Yield the files and folders of a command, as written: links are not followed. Some may be missing.

    Nothing is read of a program that a server may have written: the server would choose its own needs.
    """
    program_is_fixed = not (is_changeable(program) or is_changeable(program.resolve()))
    yield from _needs_of_program(program, env, _DEEPEST) if program_is_fixed else (program,)
    awaits_script = program.resolve().name.startswith(_INTERPRETERS)
    for path in _named_paths(command[1:], cwd):
        is_script = awaits_script and path.is_file()
        awaits_script = awaits_script and not is_script
        is_fixed = not (is_changeable(path) or is_changeable(path.resolve()))
        yield from _needs_of_script(path) if is_script and is_fixed else (path,)


def _needs_of_program(program: Path, env: Mapping[str, str], depth: int) -> Iterator[Path]:
    yield program
    if depth == 0:
        return
    real = program.resolve()
    for each in {program, real}:
        if each.parent.name == "bin":
            yield from _needs_of_prefix(each.parent.parent, env, depth)
        if each.parent.name == "shims":
            # A shim of pyenv, asdf or mise reads the settings and the versions beside it.
            yield each.parent.parent
    interpreter = _find_interpreter(real, env)
    if interpreter is not None:
        yield from _needs_of_script(real)
        yield from _needs_of_program(interpreter, env, depth - 1)


def _needs_of_prefix(prefix: Path, env: Mapping[str, str], depth: int) -> Iterator[Path]:
    """Yield the parts of an installed tree, also of the interpreter below a virtual environment."""
    # Desktops keep the secrets of people in ~/.local/share.
    kept = [part for part in _PARTS if (prefix.name, part) != (".local", "share")]
    yield from (prefix / part for part in kept)
    settings = prefix / "pyvenv.cfg"
    if not settings.is_file():
        return
    for line in settings.read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home":
            yield from _needs_of_program(Path(value.strip()) / "python3", env, depth - 1)
    for added in prefix.glob("lib/python*/site-packages/*.pth"):
        # Projects that are installed to be edited. Their hidden parts, such as `.git` and `.env`, are no modules.
        for line in added.read_text("utf-8", "replace").splitlines():
            if line.startswith("/") and Path(line).is_dir():
                yield Path(line) / VISIBLE_PARTS


def _needs_of_script(script: Path) -> Iterator[Path]:
    """Yield the folder of a script, and of a Node package all packages beside it."""
    yield script
    for each in {script, script.resolve()}:
        trees = [parent for parent in each.parents if parent.name == "node_modules"]
        if trees:
            yield trees[-1]
        elif each.parent.name != "bin":
            yield next((parent for parent in each.parents if (parent / "package.json").is_file()), each.parent)


def _find_interpreter(program: Path, env: Mapping[str, str]) -> Path | None:
    """Return the interpreter that the first line of a script names."""
    try:
        with program.open("rb") as file:
            first = file.readline(_FIRST_LINE)
    except OSError:
        return None
    words = os.fsdecode(first.removeprefix(b"#!")).split() if first.startswith(b"#!") else []
    if words and words[0].endswith("/env"):
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    found = shutil.which(words[0], path=env.get("PATH", os.defpath)) if words else None
    return None if found is None else Path(found)


def _named_paths(arguments: Sequence[str], cwd: Path) -> Iterator[Path]:
    """Yield the existing files and folders among arguments, also those after the `=` of an option."""
    for argument in arguments:
        _, equals, value = argument.partition("=")
        text = value if argument.startswith("-") and equals else argument
        if not text or text.startswith("-") or "\0" in text:
            continue
        path = Path(os.path.normpath(cwd / text)) if ".." not in Path(text).parts else cwd / text
        try:
            is_there = path.is_dir() or path.is_file()
        except OSError:
            continue
        if is_there:
            yield path
