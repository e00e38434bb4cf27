"""`opagate init`: a first configuration, one made from a client's file, or a client's servers added to an existing one.

`init service` and `init schema` are in modules of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from gateway.base import strict_yaml
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli.options import refuse_lost_options
from gateway.surfaces.cli.terminal import err, note, out, pairs, plain, show

if TYPE_CHECKING:
    from gateway.surfaces.cli.importing import Imported
    from gateway.surfaces.cli.template import FirstStart


app = typer.Typer(invoke_without_command=True)


@app.callback()
def init(
    context: typer.Context,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A client's list of MCP servers: of Claude, Codex, Cursor, Gemini CLI, opencode, VS Code.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = Path(
        "gateway.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a commented gateway.yaml, and a grants.yaml beside it.

    With --from, the servers of another client become upstreams. Reads pass, and a person is asked about all other calls.

    An existing gateway.yaml keeps its comments, order and entries. Each server is added, with grants in the file of policy.grants.

    A server with a taken name gets a number behind its name.

    Secrets are never copied: each becomes a reference to an environment variable, and the command lists the variables to set.
    """
    if context.invoked_subcommand is not None:
        refuse_lost_options(context)
        return
    if source is not None and output.exists() and not force:
        _add(source, output)
        return
    imported = None if source is None else read_client_file(source, beside=output)
    write_files(output, None if imported is None else imported.upstreams, force=force)
    if imported is not None:
        tell(imported.variables, imported.notes)
    next_steps(output, imported=imported is not None)


def write_files(
    output: Path,
    upstreams: Mapping[str, Mapping[str, Any]] | None,
    first: FirstStart | None = None,
    *,
    force: bool = False,
) -> None:
    """Write a configuration, and its grants beside it. Raise `ConfigurationError` if one is there, without `force`."""
    from gateway.surfaces.cli import template
    from gateway.surfaces.cli.labels_file import EMPTY_LABELS

    grants = output.with_name("grants.yaml")
    files = {output: template.configuration(upstreams, first), grants: template.grants(upstreams)}
    if first is not None:
        files[output.with_name("labels.yaml")] = EMPTY_LABELS
    taken = [str(path) for path in files if path.exists() or path.is_symlink()]
    if taken and not force:
        raise ConfigurationError(
            f"{' and '.join(taken)} would be overwritten",
            "name another --output, add servers with --from, or add --force",
        )
    for path, content in files.items():
        write(path, content)
        err.print(f"wrote {path}", style="green", markup=False)


def _add(source: Path, path: Path) -> None:
    """Add the servers of a client's file to an existing configuration, with grants for each."""
    from gateway.surfaces.cli import template

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}", "name another --output, or add --force") from None
    imported = read_client_file(source, beside=path, taken=names_of_upstreams(text, str(path)))
    files = {path: add_upstreams(text, str(path), template.upstreams_of(imported.upstreams))}
    grants = _find_grants(text, path)
    if grants.exists():
        before = grants.read_text(encoding="utf-8")
        missing = [name for name in imported.upstreams if name not in names_of_upstreams(before, str(grants))]
        files[grants] = add_upstreams(before, str(grants), template.grants_of(missing))
    for name, content in files.items():
        write(name, content)
        err.print(f"added {len(imported.upstreams)} upstreams to {name}", style="green", markup=False)
    if not grants.exists():
        note(f"note: there is no {grants}; grant the new upstreams there, or set policy.grants")
    tell(imported.variables, imported.notes)
    next_steps(path, imported=True)


def _find_grants(text: str, path: Path) -> Path:
    """Return the file of grants in `policy.grants` of a readable configuration, else grants.yaml beside the configuration."""
    document = strict_yaml.value(text)
    policy = cast("dict[str, Any]", document).get("policy") if isinstance(document, dict) else None
    named = cast("dict[str, Any]", policy).get("grants") if isinstance(policy, dict) else None
    if not isinstance(named, str):
        return path.with_name("grants.yaml")
    found = path.parent / named
    return found / "grants.yaml" if found.is_dir() else found


def read_client_file(source: Path, *, beside: Path, taken: Collection[str] = ()) -> Imported:
    """Return the servers of a client's file, under names that are not `taken`, for a configuration at `beside`.

    Raise `ConfigurationError`.
    """
    from gateway.config.own_files import PROGRAM_FILES
    from gateway.surfaces.cli import importing

    try:
        text = source.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{source} cannot be read: {reason}", "name the MCP file of a client") from None
    own = (beside.parent.resolve(), source.expanduser().resolve(), *PROGRAM_FILES)
    return importing.import_servers(text, str(source), taken, importing.Surroundings(own, os.environ))


def write(path: Path, content: str) -> None:
    """Write a file whole or not at all, with the rights of the file before. Raise `ConfigurationError`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        # Nobody else can have put a link there.
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
            if mode is not None:
                fresh.chmod(mode)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", "name another --output") from None


def tell(variables: dict[str, str], notes: list[str]) -> None:
    """Print the variables to set, and the notes of an import."""
    if variables:
        out.print("\n[bold]Set these variables for the gateway[/] (their values were not copied)")
        rows = pairs()
        for name, where in variables.items():
            rows.add_row(plain(f"  {name}"), plain(where))
        show(rows)
    for text in notes:
        note(f"note: {text}")


def next_steps(path: Path, *, imported: bool) -> None:
    """Print the next commands."""
    config = "" if str(path) == "gateway.yaml" else f" --config {path}"
    out.print("\n[bold]Next[/]")
    rows = pairs()
    rows.add_row(f"  opagate check{config}", "check that everything is there")
    rows.add_row(
        f"  opagate catalogue show{config}",
        "the tools; label them in the file" + (", and grant them in grants.yaml" if imported else ""),
    )
    rows.add_row(f"  opagate up{config}", "run it")
    rows.add_row(f"  opagate credentials token --agent you{config}", "a token to call it with")
    show(rows)


_EMPTY: Final = re.compile(r"^upstreams:[ \t]*(?:\{[ \t]*\})?[ \t]*(?:#.*)?$", re.MULTILINE)
_KEY: Final = re.compile(r"^[^\s#-]", re.MULTILINE)


def add_upstreams(text: str, name: str, additions: Mapping[str, str]) -> str:
    """Return the file with `additions` (name → its YAML, indented by two) at the end of its `upstreams`.

    `name` is the file's name, for people. Raise `ConfigurationError` for a file too free in its form.
    """
    before = _upstreams(text, name)
    head = _EMPTY.search(text)
    if head is None:
        raise _by_hand(name, "its `upstreams` do not begin on a line of their own")
    rest = text[head.end() :]
    following = _KEY.search(rest)
    end = head.end() + (following.start() if following else len(rest))
    body = text[head.end() : end].rstrip("\n")
    fresh = "".join(addition if addition.endswith("\n") else f"{addition}\n" for addition in additions.values())
    merged = f"{text[: head.start()]}upstreams:{body}\n{fresh}{text[end:]}"
    after = _upstreams(merged, name)
    if {
        key: value for key, value in after.items() if key not in additions
    } != before or not additions.keys() <= after.keys():
        raise _by_hand(name, "its indentation is not by two spaces")
    return merged


def names_of_upstreams(text: str, name: str) -> frozenset[str]:
    """Return the names of the upstreams in a file. Raise `ConfigurationError` for an unreadable file."""
    return frozenset(_upstreams(text, name))


def _upstreams(text: str, name: str) -> dict[str, Any]:
    try:
        document = strict_yaml.value(text)
    except strict_yaml.UnreadableYaml as error:
        raise ConfigurationError(
            f"{name} cannot be read: line {error.line}: {error.problem}", "mend that line"
        ) from None
    found = cast("dict[str, Any]", document).get("upstreams") if isinstance(document, dict) else None
    if found is not None and not isinstance(found, dict):
        raise ConfigurationError(f"{name}: upstreams is not a mapping", "write it as a mapping of names")
    return cast("dict[str, Any]", found or {})


def _by_hand(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} cannot be added to: {problem}",
        "add the upstreams by hand: `opagate init --from FILE --output other.yaml` writes them",
    )
