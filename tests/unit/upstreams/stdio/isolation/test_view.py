"""The files that a server sees: what its command needs, what is declared, and nothing of the gateway's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.config.own_files import OwnFiles
from gateway.upstreams.stdio.isolation.needs import find_needs, find_program
from gateway.upstreams.stdio.isolation.view import NOTHING, View, ViewBuilder, follow

NONE = OwnFiles()
ENV = {"PATH": "/usr/bin:/bin"}


def view_of(command: list[str], cwd: Path, own: OwnFiles = NONE, **declared: list[Path]) -> View:
    builder = ViewBuilder(own)
    builder.add_declared(declared.get("read", []), declared.get("write", []))
    program = find_program(command[0], ENV, cwd)
    builder.add_needs(find_needs(command, program, ENV, cwd, is_changeable=own.is_changeable))
    return builder.build()


def is_shown(view: View, path: Path) -> bool:
    return any(path.is_relative_to(each) for each in (*view.read, *view.write))


def make(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_a_script_is_shown_with_its_folder_and_nothing_above(tmp_path: Path):
    make(tmp_path, "app/server.py", "app/tools.py", "secret.txt")
    view = view_of(["python3", str(tmp_path / "app/server.py")], tmp_path)

    assert is_shown(view, tmp_path / "app/tools.py")
    assert not is_shown(view, tmp_path / "secret.txt")


def test_a_script_of_node_is_shown_with_its_package_or_all_packages(tmp_path: Path):
    make(tmp_path, "app/package.json", "app/dist/index.js", "app/node_modules/dep/index.js")
    make(tmp_path, "tree/node_modules/a/dist/index.js", "tree/node_modules/b/index.js", "tree/own.txt")

    one = view_of(["node", str(tmp_path / "app/dist/index.js")], tmp_path)
    other = view_of(["node", str(tmp_path / "tree/node_modules/a/dist/index.js")], tmp_path)

    assert is_shown(one, tmp_path / "app/node_modules/dep/index.js")
    assert is_shown(other, tmp_path / "tree/node_modules/b/index.js")
    assert not is_shown(other, tmp_path / "tree/own.txt")


def test_a_virtual_environment_is_shown_with_its_interpreter_and_its_edited_projects(tmp_path: Path):
    make(tmp_path, "project/pkg/a.py", "project/.env", "secret.txt")
    site = tmp_path / "venv/lib/python3/site-packages"
    site.mkdir(parents=True)
    (site / "edited.pth").write_text(f"{tmp_path / 'project'}\nimport os\n")
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "venv/pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    script = tmp_path / "venv/bin/server"
    script.write_text(f"#!{tmp_path / 'venv/bin/python'}\n")
    script.chmod(0o755)

    view = view_of([str(script)], tmp_path)

    assert is_shown(view, site)
    assert is_shown(view, Path(sys.executable).resolve())
    assert is_shown(view, tmp_path / "project/pkg/a.py")
    assert not is_shown(view, tmp_path / "project/.env")
    assert not is_shown(view, tmp_path / "secret.txt")


@pytest.mark.parametrize("argument", ["{0}/data", "--root={0}/data", "data", "sub/../data"])
def test_a_path_among_the_arguments_is_shown_to_read(tmp_path: Path, argument: str):
    make(tmp_path, "data/a.txt", "sub/b.txt")
    view = view_of(["cat", argument.format(tmp_path)], tmp_path)

    assert tmp_path / "data" in view.read
    assert view.write == ()


def test_an_argument_opens_no_folder_of_many_owners(tmp_path: Path):
    view = view_of(["cat", "/", "/etc", "/tmp", str(Path.home()), "/proc/1/root", "/proc/self/environ"], tmp_path)

    assert not any(is_shown(view, Path(path)) for path in ("/etc/passwd", "/tmp/x", str(Path.home() / "x"), "/proc/1"))
    assert {Path("/"), Path("/etc"), Path("/tmp"), Path.home()} <= set(view.withheld)


def test_a_link_is_shown_as_a_link_and_its_end_at_its_own_path(tmp_path: Path):
    make(tmp_path, "real/deep/a.txt")
    (tmp_path / "one").symlink_to("real")
    (tmp_path / "two").symlink_to(tmp_path / "one/deep")

    view = view_of(["cat", str(tmp_path / "two/a.txt")], tmp_path)

    assert tmp_path / "real/deep/a.txt" in view.read
    assert {(tmp_path / "one", "real"), (tmp_path / "two", str(tmp_path / "one/deep"))} <= set(view.links)


def test_a_ring_of_links_ends(tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert follow(tmp_path / "a/x")[0].is_relative_to(tmp_path)


OWN = ("gateway.yaml", "state/key", "rules/deny.rego")


def own_files(folder: Path, *changeable: Path) -> OwnFiles:
    return OwnFiles((folder / "gateway.yaml", folder / "state", folder / "rules"), (folder / "public",), changeable)


def test_a_folder_with_own_files_shows_its_other_parts_without_hidden_ones(tmp_path: Path):
    make(tmp_path, *OWN, "server.py", "lib/tool.py", ".env", ".git/config", "deep/own/a.txt")
    (tmp_path / "leak").symlink_to("state")
    view = view_of(["python3", str(tmp_path / "server.py"), "."], tmp_path, own_files(tmp_path))

    assert all(is_shown(view, tmp_path / name) for name in ("server.py", "lib/tool.py", "deep/own/a.txt"))
    assert not any(is_shown(view, tmp_path / name) for name in (*OWN, ".env", ".git/config"))
    assert not is_shown(view, tmp_path / "new.txt"), "a file of a later time may be the gateway's"


@pytest.mark.parametrize("named", ["state", "state/key", "gateway.yaml", "link", "rules/../state/key"])
def test_an_argument_opens_no_own_file(tmp_path: Path, named: str):
    make(tmp_path, *OWN)
    (tmp_path / "link").symlink_to("state")
    view = view_of(["cat", str(tmp_path / named)], Path("/"), own_files(tmp_path))

    assert not any(is_shown(view, tmp_path / name) for name in OWN)


@pytest.mark.parametrize(
    ("way", "named"),
    [("read", "link"), ("write", "link"), ("write", "public"), ("read", "link/key"), ("read", "drop/in")],
)
def test_a_declared_link_to_an_own_file_starts_no_server(tmp_path: Path, way: str, named: str):
    make(tmp_path, *OWN, "public/a", "drop/in/a")
    (tmp_path / "link").symlink_to("state")

    with pytest.raises(PermissionError, match=r"the gateway's own files|a server may write"):
        view_of(["cat"], tmp_path, own_files(tmp_path, tmp_path / "drop"), **{way: [tmp_path / named]})


def test_a_missing_declared_folder_starts_no_server(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        view_of(["cat"], tmp_path, read=[tmp_path / "missing"])


def test_a_program_that_a_server_may_have_written_chooses_no_files(tmp_path: Path):
    """It could name any interpreter, virtual environment or package."""
    make(
        tmp_path,
        "drop/bin/server",
        "drop/pyvenv.cfg",
        "elsewhere/bin/python3",
        "elsewhere/lib/secret.txt",
        "other/s.txt",
    )
    drop = tmp_path / "drop"
    (drop / "pyvenv.cfg").write_text(f"home = {tmp_path / 'elsewhere/bin'}\n")
    (drop / "bin/server").write_text(f"#!{tmp_path / 'elsewhere/bin/python3'}\n")
    (drop / "link").symlink_to(tmp_path / "other")
    for program in (drop / "bin/server", tmp_path / "elsewhere/bin/python3"):
        program.chmod(0o755)

    view = view_of([str(drop / "bin/server"), str(drop / "link")], tmp_path, own_files(tmp_path, drop), write=[drop])

    assert (view.read, view.write) == ((), (drop,))


def test_a_path_inside_another_is_shown_once_and_a_writable_one_stays_writable(tmp_path: Path):
    make(tmp_path, "a/b/c.txt", "a/w/x.txt")
    folder = tmp_path / "a"
    view = view_of(["cat", str(folder / "b")], tmp_path, read=[folder], write=[folder / "w"])

    assert [path for path in view.read if path.is_relative_to(tmp_path)] == [folder]
    assert view.write == (folder / "w",)


def test_the_system_shows_no_secret_of_the_machine():
    builder = ViewBuilder(OwnFiles())
    builder.add_system(has_network=True)
    view = builder.build()

    assert is_shown(view, Path("/usr/bin/env"))
    assert is_shown(view, Path("/etc/passwd"))
    assert not any(is_shown(view, Path(path)) for path in ("/etc/shadow", "/etc/ssl/private", "/etc/sudoers", "/var"))


def test_a_program_that_is_missing_is_an_error_of_the_system(tmp_path: Path):
    for program in ("no-such-program", "./no-such", "/no/such"):
        with pytest.raises(FileNotFoundError):
            find_program(program, ENV, tmp_path)


def test_nothing_shows_nothing():
    assert ViewBuilder(OwnFiles(), NOTHING).build() == NOTHING
