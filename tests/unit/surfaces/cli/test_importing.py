from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.config.secret_texts import secret_texts
from gateway.surfaces.cli import importing, template
from gateway.surfaces.cli.importing import Imported
from tests.unit.surfaces.cli.conftest import Status

MARK = "s3cret-marker-9f8e7d6c5b4a"


def read(servers: dict[str, Any], **further: Any) -> Imported:
    return importing.import_servers(json.dumps({"mcpServers": servers, **further}), "mcp.json")


def test_cursor_and_claude_desktop_servers_become_upstreams():
    found = read(
        {"Files": {"command": "npx", "args": ["-y", "fs@1.2.3", "/data"]}, "web": {"url": "https://mcp.example/mcp"}}
    )

    assert found.upstreams == {
        "files": {
            "command": ["npx", "-y", "fs@1.2.3", "/data"],
            "network": True,
            "audience": "files",
            "environment": "development",
        },
        "web": {"url": "https://mcp.example/mcp", "audience": "mcp.example"},
    }
    assert found.variables == {}
    assert ["it fetches its package, so it was given the network" in note for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["npx", "-y", "fs"], "npx runs fs in whatever version there is"),
        (["uvx", "mcp-server-git"], "such as mcp-server-git==1.2.3"),
        (["docker", "run", "-i", "mcp/time:1"], "docker runs mcp/time:1 in whatever version there is"),
        (["uvx", "--from", f"git+https://x:{MARK}@git.example/a", "tool"], "uvx runs a package from an address"),
    ],
)
def test_a_package_without_an_exact_version_is_named(command: list[str], told: str):
    found = read({"here": {"command": command[0], "args": command[1:]}})

    assert told in " ".join(found.notes)
    assert MARK not in " ".join(found.notes)


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("http://127.0.0.1:9001/mcp", "127.0.0.1:9001"),
        ("http://localhost:9002/mcp", "localhost:9002"),
        ("http://[::1]:9003/mcp", "::1:9003"),
        ("http://localhost/mcp", "localhost"),
        ("https://mcp.example:8443/mcp", "mcp.example"),
        ("http://localhost:99999/mcp", "here"),
    ],
)
def test_each_port_of_this_machine_is_a_system_of_its_own(url: str, audience: str):
    assert read({"here": {"url": url}}).upstreams["here"]["audience"] == audience


def test_vs_code_files_have_comments_and_inputs():
    text = """{
      // "not": a value, /* nor this */
      "inputs": [{"id": "gh-token", "type": "promptString", "password": true},],
      "servers": {
        /* "x": 1, */
        "gh": {"type": "http", "url": "https://gh.example//x", "headers": {"Authorization": "${input:gh-token}"},},
      },
    }"""
    found = importing.import_servers(text, "mcp.json")

    assert found.upstreams["gh"] == {
        "url": "https://gh.example//x",
        "audience": "gh.example",
        "credential": {"kind": "header", "name": "authorization", "value": "${GH_TOKEN}"},
    }
    assert found.variables == {"GH_TOKEN": "gh: ${input:gh-token}"}


def test_a_comma_between_two_comments_of_a_file_stays():
    text = '{"servers": {"a": {"command": "x"}, /* one */ "b": {"command": "y"}, /* two */ }}'

    assert set(importing.import_servers(text, "mcp.json").upstreams) == {"a", "b"}


def test_vs_code_settings_have_the_servers_below_mcp():
    found = importing.import_servers(json.dumps({"mcp": {"servers": {"a": {"command": "x"}}}}), "settings.json")

    assert found.upstreams == {"a": {"command": ["x"], "audience": "a", "environment": "development"}}


def test_references_of_clients_become_variables():
    found = read(
        {
            "a": {
                "command": "${userHome}/x",
                "args": ["${env:ROOT}/y", "${DEEP:-/z}", "${workspaceFolder}"],
                "cwd": "${env:ROOT}",
            }
        }
    )

    assert found.upstreams["a"]["command"] == ["${HOME}/x", "${ROOT}/y", "${DEEP}", "${workspaceFolder}"]
    assert found.upstreams["a"]["cwd"] == "${ROOT}"
    assert set(found.variables) == {"ROOT", "DEEP", "workspaceFolder"}


def test_servers_of_the_same_name_stay_apart():
    """Of two projects of Claude Code."""
    projects = {"/a": {"mcpServers": {"x": {"command": "one"}}}, "/b": {"mcpServers": {"x": {"command": "two"}}}}
    found = importing.import_servers(json.dumps({"projects": projects}), ".claude.json")

    assert {name: upstream["command"] for name, upstream in found.upstreams.items()} == {"x": ["one"], "x-2": ["two"]}


def test_a_token_that_codex_takes_from_the_environment_is_a_variable():
    text = "[mcp_servers.gh]\nurl = 'https://mcp.example/mcp'\nbearer_token_env_var = 'GH_TOKEN'\n"
    found = importing.import_servers(text, "config.toml")

    assert found.upstreams["gh"]["credential"]["value"] == "${GH_AUTHORIZATION}"
    assert found.variables == {"GH_AUTHORIZATION": "gh: header Authorization, the whole value"}


def test_the_same_variable_of_two_servers_is_told_apart():
    found = read({"a": {"command": "x", "env": {"TOKEN": "1"}}, "b": {"command": "x", "env": {"TOKEN": "2"}}})

    assert found.upstreams["a"]["env"] == {"TOKEN": "${TOKEN}"}
    assert found.upstreams["b"]["env"] == {"TOKEN": "${B_TOKEN}"}
    assert found.variables == {"TOKEN": "a: env TOKEN", "B_TOKEN": "b: env TOKEN"}


def test_a_value_of_the_file_has_another_variable_than_a_reference_to_the_environment():
    """Else the second server would get the token of the first one."""
    literal = {"command": "x", "env": {"GH_TOKEN": "of the first"}}
    found = read({"a": literal, "b": {"command": "y", "env": {"TOKEN": "${env:GH_TOKEN}"}}})

    assert found.upstreams["b"]["env"] == {"TOKEN": "${GH_TOKEN}"}
    assert found.values == {"A_GH_TOKEN": "of the first"}


def test_no_two_values_share_a_variable_whatever_the_names_of_their_servers():
    found = read({name: {"command": "x", "args": ["--token", name]} for name in ("a-b", "a_b", "A_B ")})

    told = [found.values[upstream["command"][2][2:-1]] for upstream in found.upstreams.values()]
    assert told == ["a-b", "a_b", "A_B "]


ORDINARY = {
    "LOG_LEVEL": "debug",
    "PORT": 3000,
    "READ_ONLY": "true",
    "AWS_REGION": "eu-west-1",
    "DATA_DIR": "/home/me/data",
    "GITLAB_API_URL": "https://gitlab.example.com/api/v4",
    "EMPTY": "",
}


def test_one_variable_has_one_value():
    found = read({"a": {"command": "x", "env": {"LOG_LEVEL": "debug"}}})
    assert found.notes == ["a: its LOG_LEVEL kept its value, which looks like no secret; read it once"]


def test_variables_that_look_like_no_secrets_keep_their_values_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = read({"a": {"command": "x", "env": {**ORDINARY, "API_TOKEN": "1"}}})

    texts = {name: str(value) for name, value in ORDINARY.items()}
    assert found.upstreams["a"]["variables"] == texts
    assert found.upstreams["a"]["env"] == {"API_TOKEN": "${API_TOKEN}"}
    assert found.variables == {"API_TOKEN": "a: env API_TOKEN"}
    assert found.notes == [
        f"a: its {', '.join(sorted(ORDINARY))} kept their values, which look like no secrets; read them once"
    ]
    monkeypatch.setenv("API_TOKEN", "x")
    settings = config.parse(template.configuration(found.upstreams), base=tmp_path)
    assert settings.upstreams["a"].own_variables == {**texts, "API_TOKEN": "x"}
    assert [each.text for each in secret_texts(settings)] == ["x"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, "x")
            for name in ("OPENAI_KEY", "SIGNING_KEY", "DB_PASS", "GH_PAT", "DSN", "PASSPHRASE", "SALT", "apiToken")
        ),
        ("DB", "postgres://user:hunter2@db.example/x"),
        ("HOOK", "https://hooks.example/services/T0001/B0001/XzcvbNmAsdF123qwerTYuiop"),
        ("OPTIONS", "-Dtoken=abc"),
        ("HEADERS", '{"Authorization": "Basic eA=="}'),
        ("PLACE", "file:/etc/passwd"),
        ("PLACE", "${HOME}/x"),
        ("LINES", "a\nb"),
        ("FLAG", True),
    ],
)
def test_a_variable_that_may_hold_a_secret_becomes_a_reference(name: str, value: object):
    found = read({"a": {"command": "x", "env": {name: value}}})

    (written,) = found.upstreams["a"]["env"].values()
    assert written.startswith("${")
    assert found.notes == []


@pytest.mark.parametrize(
    "server",
    [
        {"command": "x", "env": {"ANYTHING": MARK}},
        {"url": "https://x.example/", "headers": {"X-Whatever": MARK}},
        {"url": "https://x.example/", "headers": {"Authorization": f"Bearer {MARK}", "Other": MARK}},
        {"url": f"https://x.example/?api_key={MARK}"},
        {"url": f"https://user:{MARK}@x.example/"},
        {"url": f"https://[x?token={MARK}"},
        {"command": "x", "args": ["--api-key", MARK]},
        {"command": "x", "args": [f"--token={MARK}"]},
        {"command": "x", "args": ["--header", f"Authorization: Bearer {MARK}"]},
        {"command": "x", "args": ["-H", f"X-Api-Key:{MARK}"]},
        {"command": "x", "args": [f"postgres://user:{MARK}@db.example/x"]},
        {"command": "x", "args": [f"https://x.example/sse?signature={MARK}"]},
        {"command": "x", "args": ["ghp_" + "A1b2C3d4E5" * 3 + "f6G7h8"]},
        {"url": f"https://x.example/api/s/{MARK}/mcp"},
        {"url": f"https://x.example/mcp/{MARK}"},
        {"command": "npx", "args": ["-y", "mcp-remote", f"https://x.example/s/{MARK}/mcp"]},
        {"command": "x", "args": ["--pwd", MARK]},
        {"command": "x", "args": [f"--pass={MARK}"]},
        {"command": "x", "args": ["-t", MARK]},
        {"command": "x", "args": [f"--site={MARK}"]},
        {"command": "x", "env": {"PGPASS": "hunter2", "OTHER": "plain"}, "args": [MARK]},
    ],
)
def test_no_secret_is_copied_anywhere(server: dict[str, Any]):
    found = read({"server": server})
    written = template.configuration(found.upstreams) + template.grants(found.upstreams) + repr(found)

    assert MARK not in written
    assert "A1b2C3d4E5" not in written
    assert "hunter2" not in written
    assert len(found.variables) == (2 if "PGPASS" in written else 1)


@pytest.mark.parametrize(
    "words",
    [
        ["uvx", "--from", "git+https://x.example/x/y@0123456789abcdef0123456789abcdef01234567", "y"],
        ["docker", "run", "-i", f"x.example/y@sha256:{'a1b2c3d4' * 8}"],
        ["npx", "-y", "@scope/server@2025.1.14", "--model", "claude-sonnet-4-20250514", "--port=8931", "https://x.example/mcp"],
        ["node", "/srv/app-v2.3.1/dist/index.js", "--no-sandbox", "https://a1b2c3d4e5f6g7h8.x.example/mcp"],
    ],
)  # fmt: skip
def test_packages_and_plain_words_stay_as_they_are(words: list[str]):
    found = read({"a": {"command": words[0], "args": words[1:]}})

    assert (found.upstreams["a"]["command"], found.variables) == (words, {})


def test_a_secret_in_the_path_of_an_address_leaves_the_rest_of_the_address():
    url = "https://a1b2c3d4e5f6g7h8.x.example/s/N2Q4ZjZlYzUtMTIz/mcp"
    found = read({"a": {"url": url}})

    assert found.upstreams["a"]["url"] == "https://a1b2c3d4e5f6g7h8.x.example/s/${A_URL}/mcp"
    assert found.values == {"A_URL": "N2Q4ZjZlYzUtMTIz"}


def import_here(servers: dict[str, Any], *own: Path, environ: dict[str, str] | None = None) -> Imported:
    text = json.dumps({"mcpServers": servers})
    return importing.import_servers(text, "mcp.json", around=importing.Surroundings(own, environ or {}))


def test_a_folder_among_the_words_of_a_server_may_be_written(tmp_path: Path):
    for name in ("data", "more"):
        (tmp_path / name).mkdir()
    server = {"command": "x", "args": [str(tmp_path / "data"), "--log=/etc", str(tmp_path / "none")]}
    found = import_here({"a": {**server, "env": {"MORE": str(tmp_path / "more")}}})

    assert found.upstreams["a"]["files"] == {"write": [str(tmp_path / "data"), str(tmp_path / "more")]}


def test_a_folder_with_the_gateways_own_files_is_never_written(tmp_path: Path):
    (tmp_path / "own").mkdir()
    found = import_here({"a": {"command": "x", "args": [str(tmp_path)]}}, tmp_path / "own")

    assert "files" not in found.upstreams["a"]
    assert "may read" in found.notes[0]


def test_a_file_of_data_in_a_folder_that_stays_closed_is_told(tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    arguments = [str(tmp_path / "open"), "--db-path", str(tmp_path / "closed/x.db"), str(tmp_path / "open/y.db")]
    variables = {"MEMORY": str(tmp_path / "closed/memory.json"), "ACCOUNT": str(tmp_path / "closed/key.json")}
    server = {"command": "x", "args": arguments, "env": variables}
    found = import_here({"a": server})

    told = [note for note in found.notes if "does not let it write" in note]
    assert [name in note for name, note in zip(("x.db", "memory.json"), told, strict=True)] == [True, True]
    assert found.upstreams["a"]["files"] == {"write": [str(tmp_path / "open")]}


def test_two_servers_in_one_tree_may_both_write_the_outer_folder(tmp_path: Path):
    (tmp_path / "repo").mkdir()
    found = import_here(
        {"a": {"command": "x", "args": [str(tmp_path)]}, "b": {"command": "y", "args": [str(tmp_path / "repo")]}}
    )

    assert found.upstreams["a"]["files"] == found.upstreams["b"]["files"] == {"write": [str(tmp_path)]}
    config.parse(template.configuration(found.upstreams), base=tmp_path.parent / "gateway")


def test_a_program_that_fetches_its_package_has_the_machines_way_to_the_network(tmp_path: Path):
    environ = {"SSL_CERT_DIR": str(tmp_path), "HTTPS_PROXY": f"http://me:{MARK}@proxy.example", "OTHER": "1"}
    found = import_here({"a": {"command": "uvx", "args": ["x==1"]}, "b": {"command": "x"}}, environ=environ)

    assert found.upstreams["a"]["variables"] == {"SSL_CERT_DIR": str(tmp_path)}
    assert found.upstreams["a"]["env"] == {"HTTPS_PROXY": "${HTTPS_PROXY}"}
    assert "files" not in found.upstreams["a"]
    assert {"env", "variables"}.isdisjoint(found.upstreams["b"])


@pytest.mark.parametrize(
    "server",
    [
        {"command": "opagate", "args": ["connect", "stdio"]},
        {"command": "/home/me/.venv/bin/opagate", "args": ["connect", "stdio", "files"]},
        {"command": "uvx", "args": ["opagate", "stdio"]},
        {"command": "python3", "args": ["-m", "gateway", "connect", "stdio"]},
    ],
)
def test_the_gateway_is_no_server_behind_itself(server: dict[str, Any]):
    assert read({"opagate": server}).upstreams == {}


def test_the_gateway_of_somebody_else_is_a_server():
    server = {"command": "docker", "args": ["mcp", "gateway", "run", "--transport", "stdio"]}

    assert set(read({"docker": server}).upstreams) == {"docker"}


def test_no_value_of_a_client_stands_in_the_text_of_an_import():
    found = read({"a": {"command": "x", "env": {"API_TOKEN": MARK}}})

    assert found.values == {"API_TOKEN": MARK}
    assert MARK not in repr(found)


@pytest.mark.parametrize(
    ("server", "note"),
    [
        ({"type": "sse", "url": "https://x/"}, "HTTP+SSE"),
        ({"command": "x", "disabled": True}, "disabled"),
        ({}, "neither command nor url"),
        ("x", "no mapping"),
        ({"command": "x", "args": "abc"}, "its args cannot be read"),
        ({"command": "x", "args": [None]}, "its args cannot be read"),
        ({"command": "x", "env": ["A=1"]}, "its env cannot be read"),
        ({"url": "https://x/", "headers": 7}, "its headers cannot be read"),
    ],
)
def test_what_cannot_be_taken_over_is_noted(server: Any, note: str):
    found = read({"server": server})

    assert found.upstreams == {}
    assert note in found.notes[0]


def test_a_file_of_variables_and_a_second_header_are_noted():
    found = read(
        {"a": {"command": "x", "envFile": ".env"}, "b": {"url": "https://x/", "headers": {"A": "1", "B": "2"}}}
    )

    assert [note.partition(":")[0] for note in found.notes] == ["a", "b"]
    assert set(found.upstreams) == {"a", "b"}


def test_names_become_upstream_names_and_stay_apart():
    found = read(
        {
            "My Server!": {"command": "x"},
            "my-server": {"command": "y"},
            "§": {"command": "z"},
            "1" * 80: {"command": "w"},
        }
    )

    assert list(found.upstreams) == ["my-server", "my-server-2", "server", "1" * 60]


def test_a_web_address_in_a_string_is_no_comment():
    assert (
        importing.import_servers('{"servers": {"a": {"url": "https://x.example/,}"}}}', "f").upstreams["a"]["url"]
        == "https://x.example/,}"
    )


def test_what_is_written_is_a_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    found = read({"a": {"command": "x", "env": {"A": "1"}}, "b": {"url": "https://x/", "headers": {"A": "1"}}})
    for name in found.variables:
        monkeypatch.setenv(name, "value")

    for upstreams in (None, {}, found.upstreams):
        settings = config.parse(template.configuration(upstreams), base=tmp_path)
        assert set(settings.upstreams) == ({"files"} if upstreams is None else set(upstreams))
        grants = yaml.safe_load(template.grants(upstreams))
        assert set(grants["upstreams"]) == set(settings.upstreams)
        assert settings.loopback


@pytest.mark.parametrize(
    "escape",
    ["\x1b[31mred", "\x1b]0;title\x07", "\u202eevil", "\x9b1m", "a\nopagate: all is well", "\ud800", "[/bold]"],
)
def test_no_name_of_an_imported_file_is_a_command_to_the_terminal(
    escape: str, status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    env = {"command": "x", "env": {f"KEY{escape}": "v"}, "args": [f"--token{escape}", "v"]}
    servers = {
        f"env{escape}": env,
        f"none{escape}": {},
        f"odd{escape}": 1,
        f"web{escape}": {
            "url": f"https://a.example/{escape}?token=v",
            "headers": {"a": "v", f"B{escape}": "${input:c" + escape + "}"},
        },
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")

    assert status("init", "--from", "mcp.json") == 0

    printed = capsys.readouterr()
    lines = (printed.out + printed.err).split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.strip().startswith("opagate: all is well") for line in lines)
    written = (tmp_path / "gateway.yaml").read_text(encoding="utf-8") + (tmp_path / "grants.yaml").read_text(
        encoding="utf-8"
    )
    assert all(line.isprintable() for line in written.split("\n"))
