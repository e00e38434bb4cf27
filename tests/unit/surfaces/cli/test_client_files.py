from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import importing

LOCAL = {"command": "npx", "args": ["-y", "fs"]}
REMOTE = {"type": "http", "url": "https://mcp.example/mcp", "headers": {"Authorization": "Bearer x"}}


def read(document: object, name: str = "mcp.json") -> list[tuple[str, object]]:
    return list(importing.read_servers(json.dumps(document), name))


@pytest.mark.parametrize(
    "document",
    [
        {"mcpServers": {"a": LOCAL, "b": REMOTE}, "theme": "dark"},
        {"servers": {"a": LOCAL, "b": REMOTE}, "inputs": []},
        {"mcp": {"servers": {"a": LOCAL, "b": REMOTE}}},
        {"mcp": {"mcpServers": {"a": LOCAL, "b": REMOTE}}},
    ],
)
def test_servers_stand_under_the_key_of_the_client(document: object):
    assert read(document) == [("a", LOCAL), ("b", REMOTE)]


def test_claude_code_keeps_those_of_each_project_beside_the_users_own():
    """As `claude mcp add` writes them: by default for one project."""
    document: dict[str, Any] = {
        "mcpServers": {"a": LOCAL},
        "projects": {
            "/one": {"allowedTools": [], "mcpServers": {"a": LOCAL, "b": REMOTE}},
            "/two": {"mcpServers": {"b": {"command": "other"}, "c": LOCAL}},
            "/three": {"mcpServers": {}},
            "/four": "what is this",
        },
    }
    assert read(document) == [("a", LOCAL), ("b", REMOTE), ("b", {"command": "other"}), ("c", LOCAL)]


def test_opencode_has_one_list_for_a_command_and_its_arguments():
    document = {
        "$schema": "https://opencode.ai/config.json",
        "mcp": {
            "local": {"type": "local", "command": ["npx", "-y", "fs"], "environment": {"A": "{env:B}"}, "cwd": "/x"},
            "remote": {"type": "remote", "url": "https://{env:HOST}/mcp", "headers": {"X-Key": "{env:KEY}"}},
            "off": {"type": "local", "command": ["x"], "enabled": False},
            "odd": 7,
        },
    }
    assert read(document, "opencode.json") == [
        ("local", {"type": "local", "command": "npx", "args": ["-y", "fs"], "env": {"A": "${B}"}, "cwd": "/x"}),
        ("remote", {"type": "remote", "url": "https://${HOST}/mcp", "headers": {"X-Key": "${KEY}"}}),
        ("off", {"type": "local", "command": "x", "args": [], "disabled": True}),
        ("odd", 7),
    ]


CODEX = """
model = "a"

[mcp_servers.fs]
command = "npx"
args = ["-y", "fs"]
env_vars = ["B"]

[mcp_servers.fs.env]
A = "1"

[mcp_servers.gh]
url = "https://mcp.example/mcp"
bearer_token_env_var = "GH_TOKEN"

[mcp_servers.other]
url = "https://other.example/mcp"
enabled = false
http_headers = {X-One = "1"}
env_http_headers = {X-Two = "TWO"}
"""


def test_codex_names_environment_variables_in_the_place_of_secrets():
    assert list(importing.read_servers(CODEX, "config.toml")) == [
        ("fs", {"command": "npx", "args": ["-y", "fs"], "env": {"A": "1", "B": "${B}"}}),
        ("gh", {"url": "https://mcp.example/mcp", "headers": {"Authorization": "Bearer ${GH_TOKEN}"}}),
        (
            "other",
            {"url": "https://other.example/mcp", "headers": {"X-One": "1", "X-Two": "${TWO}"}, "disabled": True},
        ),
    ]


def test_gemini_has_a_key_of_its_own_for_streamable_http():
    found = read({"mcpServers": {"new": {"httpUrl": "https://a.example/mcp"}}})
    assert found == [("new", {"url": "https://a.example/mcp"})]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("{", "mcp.json", "is not JSON: line 1"),
        ("[]", "mcp.json", "is not an object"),
        ("{}", "mcp.json", "no list of MCP servers"),
        ('{"servers": []}', "mcp.json", "no list of MCP servers"),
        ('{"projects": {"/x": {"mcpServers": {}}}}', "claude.json", "no list of MCP servers"),
        ("[" * 100_000, "mcp.json", "cannot be read"),
        ('{"mcpServers": {"a": {"port": ' + "1" * 5_000 + "}}}", "mcp.json", "cannot be read"),
        ("a = " + "[" * 5_000, "config.toml", "cannot be read"),
        ("a = ", "config.toml", r"is not TOML: Invalid value \(at end of document\)"),
        ('model = "a"', "config.toml", "no list of MCP servers"),
        ('mcp_servers = "a"', "config.toml", "no list of MCP servers"),
    ],
)
def test_a_file_without_servers_is_refused(text: str, name: str, said: str):
    with pytest.raises(ConfigurationError, match=said) as raised:
        importing.read_servers(text, name)
    assert raised.value.remedy


@pytest.mark.parametrize("odd", [{"command": [7]}, {"command": [], "environment": 7}, {"url": 7, "headers": 7}])
def test_what_is_not_as_it_should_be_is_left_as_it_is(odd: dict[str, Any]):
    ((name, _),) = read({"mcp": {"a": {"type": "local", **odd}}})
    assert name == "a"


@pytest.mark.parametrize(
    "odd", ["env_vars = 7", "env_vars = [{name = 'B'}, 'C']", "http_headers = 7", "env = 7", "args = 7"]
)
def test_what_codex_does_not_write_ends_nothing(odd: str):
    ((name, settings),) = importing.read_servers(f"[mcp_servers.a]\ncommand = 'x'\n{odd}\n", "config.toml")
    assert name == "a"
    assert "{'name'" not in repr(settings)
