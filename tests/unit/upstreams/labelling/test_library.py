from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.model.target import Effect
from gateway.upstreams.labelling import library
from gateway.upstreams.labelling.library import KNOWN_SERVERS, propose_with_library

FILES = KNOWN_SERVERS["npm:@modelcontextprotocol/server-filesystem"]
OVERWRITES: dict[str, Any] = {"readOnlyHint": False, "destructiveHint": True}


def listed(*names: str, annotations: Any = None) -> list[Any]:
    return [{"name": name, "inputSchema": {"type": "object"}, "annotations": annotations} for name in names]


@pytest.mark.parametrize(
    "command",
    [
        ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv"],
        ["npx", "@modelcontextprotocol/server-filesystem@2026.8.31"],
        ["bunx", "@modelcontextprotocol/server-filesystem@latest"],
    ],
)
def test_a_known_package_has_reviewed_labels(command: list[str]):
    found = propose_with_library(command, listed("edit_file", "read_file", annotations=OVERWRITES))

    assert (found["read_file"].effect.value, found["read_file"].egress.value) == ("read", False)
    assert found["edit_file"].effect.because.startswith(
        "reviewed for @modelcontextprotocol/server-filesystem 2026.8.31"
    )


def test_a_python_package_is_known_under_each_spelling():
    found = propose_with_library(["uvx", "MCP_server.git"], listed("git_reset", annotations=OVERWRITES))

    assert found["git_reset"].effect.value == "write"


def test_another_version_is_named_in_the_reason():
    found = propose_with_library(["npx", "@modelcontextprotocol/server-filesystem@2027.1.2"], listed("read_file"))

    assert found["read_file"].effect.because.endswith("and the command names 2027.1.2")


def test_a_tool_that_the_library_does_not_know_is_proposed():
    found = propose_with_library(["npx", "@modelcontextprotocol/server-filesystem"], listed("delete_everything"))

    assert found["delete_everything"].effect.value == "destructive"


@pytest.mark.parametrize(
    "command",
    [
        None,
        ["node", "@modelcontextprotocol/server-filesystem"],
        ["npx", "-p", "@modelcontextprotocol/server-filesystem", "-p", "other", "other"],
        ["npx", "@modelcontextprotocol/server-filesystem-evil"],
        ["npx", "--registry=https://elsewhere.example", "@modelcontextprotocol/server-filesystem"],
        ["npx", "https://elsewhere.example/@modelcontextprotocol/server-filesystem"],
        ["npx", "@modelcontextprotocol/server-filesystem@elsewhere/repository"],
        ["npx", "@modelcontextprotocol/server-filesystem@elsewhere.tgz"],
        ["npx", "@modelcontextprotocol/server-filesystem@.."],
        ["uvx", "@modelcontextprotocol/server-filesystem"],
        ["sh", "-c", "npx @modelcontextprotocol/server-filesystem"],
    ],
)
def test_no_other_command_gets_the_milder_labels_of_a_package(command: list[str] | None):
    found = propose_with_library(command, listed("read_file", "write_file", annotations=OVERWRITES))

    assert found["read_file"].effect.value == "destructive"


def test_a_further_package_may_replace_parts_of_a_known_one():
    found = propose_with_library(["uvx", "--with", "other", "mcp-server-git"], listed("git_show"))
    known = propose_with_library(["uvx", "mcp-server-git"], listed("git_show"))

    assert "reviewed" in known["git_show"].effect.because
    assert "reviewed" not in found["git_show"].effect.because


def test_the_names_of_a_known_server_make_a_proposal_stricter_and_never_milder():
    names = KNOWN_SERVERS["npm:mcp-server-kubernetes"].tools
    lies = propose_with_library(None, listed(*names, annotations={"readOnlyHint": True}))
    truths = propose_with_library(None, listed(*names, annotations=OVERWRITES))

    assert lies["node_management"].effect.value == "destructive"
    assert lies["node_management"].effect.because == "its tools have the names of mcp-server-kubernetes"
    assert truths["kubectl_get"].effect.value == "destructive"


def test_each_reviewed_tool_has_one_effect():
    document: dict[str, Any] = tomllib.loads(Path(library.__file__).with_suffix(".toml").read_text("utf-8"))
    groups = {effect.value + leaves for effect in Effect for leaves in ("", "!")}

    for package, entry in document["servers"].items():
        names = [name for group, text in entry.items() if group in groups for name in text.split()]
        assert sorted(names) == sorted(KNOWN_SERVERS[package].tools), package
        assert entry.keys() <= groups | {"version", "confidential"}, package
        assert set(entry.get("confidential", "").split()) <= set(names), package


def test_the_library_reads_what_only_lists():
    assert {name for name, one in FILES.tools.items() if one.effect.value != "read"} == {
        "write_file",
        "edit_file",
        "create_directory",
        "move_file",
    }
