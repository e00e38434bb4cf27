from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import client_lists, connect, importing
from gateway.surfaces.cli.client_lists import ListForm
from gateway.surfaces.cli.client_values import BACKUP
from gateway.surfaces.cli.connect import ClientName, connect_text, disconnect_text
from tests.unit.surfaces.cli.conftest import Status

MARK = "s3cret-marker-9f8e7d6c5b4a"
OTHER = "an0ther-marker-5c4d3e2f1a0b"
JSON = ListForm("json", "mcpServers")
VSCODE = ListForm("json", "servers", has_type=True)
TOML = ListForm("toml", "mcp_servers")
WORDS = ["/opt/opagate", "stdio", "--agent", "x", "--config", "/a b/gateway.yaml"]

PLAIN = json.dumps(
    {"theme": "dark", "mcpServers": {"a": {"command": "one"}, "b": {"command": "two"}, "c": {"command": "three"}}},
    indent=2,
)
COMMENTED = """{
  // my servers, "quoted" {here}
  "inputs": [{"id": "t",},],
  "servers": {
    /* the first */ "a": {"command": "one", "args": ["--x=}"],}, // after a
    // before b
    "b": {"url": "https://b.example//mcp"},
    "c": {"command": "three"}, /* the end */
  },
}
"""
CODEX = """model = "o5"  # kept

# the first
[mcp_servers.a]
command = "one"

[mcp_servers.a.env]
TOKEN = "x"

# the second
[mcp_servers."b"]
command = "two"

[tui]
theme = "dark"
"""
FILES = {
    "plain": (PLAIN, JSON),
    "one line": (json.dumps(json.loads(PLAIN)), JSON),
    "windows": (PLAIN.replace("\n", "\r\n"), JSON),
    "comments": (COMMENTED, VSCODE),
    "no list": ('{"theme": "dark"}', JSON),
    "empty list": ('{"mcpServers": {}}', JSON),
    "empty object": ("{}", JSON),
    "nothing": ("", JSON),
    "comments alone": ("// none yet\n{\n  // here\n}\n", JSON),
    "codex": (CODEX, TOML),
    "codex without end": (CODEX.rstrip(), TOML),
    "codex, nothing": ("", TOML),
}


def served(text: str, form: ListForm, *names: str) -> dict[str, Any]:
    """Return the named servers of a file, as upstreams."""
    entries = client_lists.read_list(text, form, "f")
    return importing.import_document({form.key: {name: entries[name] for name in names if name in entries}}).upstreams


@pytest.mark.parametrize("names", [(), ("a",), ("b",), ("c",), ("a", "b"), ("b", "c"), ("a", "b", "c")])
@pytest.mark.parametrize("case", FILES)
def test_the_gateway_takes_the_place_of_what_it_serves_and_leaves_it_byte_for_byte(case: str, names: tuple[str, ...]):
    text, form = FILES[case]
    before = client_lists.read_list(text, form, "f")

    connected = connect_text(text, form, WORDS, served(text, form, *names), "f")

    after = client_lists.read_list(connected, form, "f")
    assert after.keys() == (before.keys() - set(names)) | {"opagate"}
    assert [after["opagate"]["command"], *after["opagate"]["args"]] == WORDS
    assert disconnect_text(connected, text or None, form, "f") == text


@pytest.mark.parametrize("case", FILES)
def test_a_second_connection_changes_nothing(case: str):
    text, form = FILES[case]
    once = connect_text(text, form, WORDS, {}, "f")

    assert connect_text(once, form, WORDS, {}, "f") == once


def test_comments_and_other_settings_stay():
    connected = connect_text(COMMENTED, VSCODE, WORDS, served(COMMENTED, VSCODE, "a", "c"), "f")
    for kept in ('// my servers, "quoted" {here}', "/* the first */", "// after a", "// before b", "/* the end */"):
        assert kept in connected

    codex = connect_text(CODEX, TOML, WORDS, served(CODEX, TOML, "a"), "f")
    assert 'model = "o5"  # kept' in codex
    assert "# the second" in codex
    assert tomllib.loads(codex)["tui"] == {"theme": "dark"}
    assert "TOKEN" not in codex


def test_what_the_client_wrote_since_survives_a_removal():
    connected = connect_text(PLAIN, JSON, WORDS, served(PLAIN, JSON, "a", "b"), "f")
    written = json.dumps({**json.loads(connected), "theme": "light"}, indent=4)

    back = json.loads(disconnect_text(written, PLAIN, JSON, "f"))

    assert back["theme"] == "light"
    assert back["mcpServers"] == json.loads(PLAIN)["mcpServers"]


def test_servers_with_one_name_and_another_command_stay(capsys: pytest.CaptureFixture[str]):
    upstreams = {"a": {"command": ["another"]}}

    connected = json.loads(connect_text(PLAIN, JSON, WORDS, upstreams, "f"))

    assert set(connected["mcpServers"]) == {"a", "b", "c", "opagate"}
    assert "a stays, since the gateway does not serve it" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[]", JSON),
        ("{", JSON),
        ('{"mcpServers": []}', JSON),
        ('{"mcpServers": {"a": {"command": "one"}}, "mcpServers": {"a": {"command": "one"}}', JSON),
        ("[[", TOML),
        ('mcp_servers = {a = {command = "one"}}', TOML),
        ('mcp_servers.a.command = "one"', TOML),
    ],
)
def test_a_file_that_cannot_be_changed_for_certain_is_left_alone(text: str, form: ListForm):
    with pytest.raises(ConfigurationError):
        connect_text(text, form, WORDS, {"a": {"command": ["one"]}}, "f")


def test_a_table_in_a_text_of_codex_is_no_table():
    text = 'notes = """\n[mcp_servers.a]\n"""\n[mcp_servers.a]\ncommand = "one"\n'
    with pytest.raises(ConfigurationError):
        connect_text(text, TOML, WORDS, {"a": {"command": ["one"]}}, "f")


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the file of Cursor, and a gateway that serves one of its two servers."""
    monkeypatch.setenv("HOME", str(tmp_path))
    servers = {
        "a": {"command": "one", "args": ["--token", MARK], "env": {"API_TOKEN": MARK}},
        "b": {"command": "two"},
    }
    place = tmp_path / ".cursor/mcp.json"
    place.parent.mkdir()
    place.write_text(json.dumps({"mcpServers": servers}), "utf-8")
    place.chmod(0o600)
    upstreams = importing.import_document({"mcpServers": {"a": servers["a"]}}).upstreams
    document = {"identity": [{"kind": "development"}], "upstreams": upstreams, "client_file": str(place)}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(document), "utf-8")
    return tmp_path


def test_the_file_is_changed_kept_and_brought_back(home: Path, status: Status, capsys: pytest.CaptureFixture[str]):
    place = home / ".cursor/mcp.json"
    before = place.read_bytes()

    assert status("connect", "cursor", "--yes") == 0

    entries = json.loads(place.read_text("utf-8"))["mcpServers"]
    assert set(entries) == {"b", "opagate"}
    assert entries["opagate"]["args"] == [
        "connect",
        "stdio",
        "--agent",
        "cursor",
        "--config",
        str(home / "gateway.yaml"),
    ]
    kept = place.with_name(place.name + BACKUP)
    assert kept.read_bytes() == before
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place, kept)] == [0o600, 0o600]
    shown = capsys.readouterr()
    assert MARK not in shown.out + shown.err
    assert '-    "command": "one"' in shown.out.replace("      ", "    ")

    assert status("connect", "cursor", "--remove", "--yes") == 0

    assert place.read_bytes() == before
    assert sorted(path.name for path in place.parent.iterdir()) == ["mcp.json"]


def test_a_client_without_a_file_gets_one_and_loses_it_again(home: Path, status: Status):
    place = home / ".codex/config.toml"

    assert status("connect", "codex", "--yes") == 0
    assert tomllib.loads(place.read_text("utf-8"))["mcp_servers"]["opagate"]["args"][:2] == ["connect", "stdio"]

    assert status("connect", "codex", "--remove", "--yes") == 0
    assert not place.exists()


def test_a_second_connection_keeps_the_first_copy(home: Path, status: Status):
    place = home / ".cursor/mcp.json"
    before = place.read_bytes()
    assert status("connect", "cursor", "--yes") == 0
    entries = json.loads(place.read_text("utf-8"))
    entries["mcpServers"]["new"] = {"command": "three"}
    place.write_text(json.dumps(entries), "utf-8")

    assert status("connect", "cursor", "--yes") == 0
    assert place.with_name(place.name + BACKUP).read_bytes() == before


def test_nothing_is_changed_without_a_yes(home: Path, status: Status, capsys: pytest.CaptureFixture[str]):
    before = (home / ".cursor/mcp.json").read_bytes()

    assert status("connect", "cursor") == 2

    assert "add --yes" in capsys.readouterr().err
    assert (home / ".cursor/mcp.json").read_bytes() == before


@pytest.mark.parametrize(
    "more",
    [
        {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer x", "X-Second": OTHER}},
        {"url": "http://127.0.0.1:9/sse", "type": "sse", "headers": {"Authorization": OTHER}},
        {"command": "three", "disabled": True, "env": {"API_TOKEN": OTHER}},
    ],
    ids=["a second header", "an old transport", "switched off"],
)
def test_no_secret_of_a_neighbour_is_shown(
    more: dict[str, Any], home: Path, status: Status, capsys: pytest.CaptureFixture[str]
):
    place = home / ".cursor/mcp.json"
    servers = {**json.loads(place.read_text("utf-8"))["mcpServers"], "b": more}
    place.write_text(json.dumps({"mcpServers": {"c": more, **servers}}), "utf-8")
    document = yaml.safe_load((home / "gateway.yaml").read_text("utf-8"))
    document["upstreams"] |= importing.import_document({"mcpServers": {"b": more}}).upstreams
    document["upstreams"].get("b", {}).pop("credential", None)
    (home / "gateway.yaml").write_text(yaml.safe_dump(document), "utf-8")
    capsys.readouterr()

    assert status("connect", "cursor", "--yes") == 0
    told = capsys.readouterr()
    assert "+" in told.out
    assert OTHER not in told.out + told.err


def test_a_link_to_the_file_stays_a_link(home: Path, status: Status):
    place = home / ".cursor/mcp.json"
    place.rename(home / "dotfile.json")
    place.symlink_to(home / "dotfile.json")

    assert status("connect", "cursor", "--yes") == 0

    assert place.is_symlink()
    assert "opagate" in (home / "dotfile.json").read_text("utf-8")


def test_the_clients_of_this_machine_are_listed(home: Path, status: Status, capsys: pytest.CaptureFixture[str]):
    assert status("connect") == 0

    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines() if row.strip()}
    assert "2 servers" in rows["cursor"]
    assert "not found" in rows["codex"]
    assert set(ClientName) <= rows.keys()


def test_a_gateway_without_development_tokens_is_not_connected(
    home: Path, status: Status, capsys: pytest.CaptureFixture[str]
):
    (home / "gateway.yaml").write_text("identity: [{kind: anonymous}]\n", "utf-8")

    assert status("connect", "cursor", "--yes") == 2
    assert "takes no development tokens" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("client", ClientName)
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_each_client_has_a_place_below_the_home(client: ClientName, platform: str):
    place = connect.find_file(client, {"HOME": "/home/ada"}, platform)

    assert place.is_relative_to("/home/ada")
    assert (place.suffix == ".toml") == (client is ClientName.CODEX)


def test_no_copy_is_readable_by_others_at_any_moment(home: Path, status: Status):
    before = os.umask(0)
    try:
        assert status("connect", "gemini", "--yes") == 0
    finally:
        os.umask(before)

    assert stat.S_IMODE((home / ".gemini/settings.json").stat().st_mode) == 0o600
