from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Configuration
from gateway.model.errors import ConfigurationError
from gateway.surfaces.cli import adoption, client_values

TOKEN = "s3cret-marker-9f8e7d6c5b4a"
OTHER = "s3cret-marker-0a1b2c3d4e5f"
SERVERS: dict[str, Any] = {
    "a": {"command": "x", "env": {"TOKEN": TOKEN, "LEVEL": "debug"}},
    "b": {"command": "y", "args": [f"--api-key={OTHER}"], "env": {"TOKEN": OTHER}},
}


def write_client(folder: Path, servers: dict[str, Any] = SERVERS) -> Path:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}), "utf-8")
    return path


@pytest.fixture
def adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that `opagate up --from` wrote."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gateway.yaml"
    adoption.adopt(write_client(tmp_path), path, port=8080)
    return path


def secret_of(settings: Configuration, upstream: str) -> str:
    return settings.upstreams[upstream].env["TOKEN"].get_secret_value()


def test_secrets_are_read_in_the_clients_file_and_stand_nowhere_else(adopted: Path):
    settings = client_values.load(adopted)

    assert (secret_of(settings, "a"), secret_of(settings, "b")) == (TOKEN, OTHER)
    assert settings.upstreams["b"].command == ("y", f"--api-key={OTHER}")
    written = "".join(path.read_text("utf-8") for path in adopted.parent.glob("*.yaml"))
    assert TOKEN not in written
    assert OTHER not in written
    assert "TOKEN" not in os.environ


def test_a_server_may_not_read_the_clients_file(adopted: Path):
    assert client_values.load(adopted).own_files.overlap_of_reading(adopted.with_name("mcp.json")) is not None


def test_a_variable_of_the_environment_gives_way_and_comes_back(adopted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN", "of-another-program")

    assert secret_of(client_values.load(adopted), "a") == TOKEN
    assert os.environ["TOKEN"] == "of-another-program"


@pytest.mark.parametrize(
    "changed",
    [
        {"a": {"command": "evil", "env": SERVERS["a"]["env"]}, "b": SERVERS["b"]},
        {"b": {"command": "x", "env": {"TOKEN": OTHER}}, "a": {"command": "y", "env": {"TOKEN": TOKEN}}},
        {"other": SERVERS["a"]},
    ],
    ids=["another command", "exchanged", "renamed"],
)
def test_no_secret_goes_to_a_server_that_has_changed(adopted: Path, changed: dict[str, Any]):
    write_client(adopted.parent, changed)

    with pytest.raises(ConfigurationError, match="TOKEN is not set"):
        client_values.load(adopted)


def add(path: Path, **settings: Any) -> None:
    """Add upstreams to a configuration by hand."""
    document = yaml.safe_load(path.read_text("utf-8"))
    document["upstreams"] |= settings
    path.write_text(yaml.safe_dump(document), "utf-8")


def test_no_secret_goes_to_a_server_that_names_the_same_variable(adopted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN", "of the environment")
    add(adopted, other={"command": ["z"], "audience": "z", "env": {"TOKEN": "${TOKEN}"}})

    with pytest.raises(ConfigurationError, match=r"\$\{TOKEN\} is a secret of a .* and other names it too"):
        client_values.load(adopted)


def test_no_secret_goes_to_a_server_that_was_added_after_connect(adopted: Path):
    """The file of the client has a variable of the same name for the new server."""
    client = adopted.with_name("mcp.json")
    client.rename(client.with_name(client.name + client_values.BACKUP))
    write_client(adopted.parent, {"c": {"command": "z", "env": {"TOKEN": "of c"}}})
    add(adopted, c={"command": ["z"], "audience": "z", "env": {"TOKEN": "${TOKEN}"}})

    with pytest.raises(ConfigurationError, match="and c names it too"):
        client_values.load(adopted)


def test_a_second_upstream_of_the_same_server_has_its_secrets_too(adopted: Path):
    add(adopted, twin=yaml.safe_load(adopted.read_text("utf-8"))["upstreams"]["a"])

    assert secret_of(client_values.load(adopted), "twin") == TOKEN


def test_a_new_order_of_the_clients_servers_exchanges_no_secrets(adopted: Path):
    write_client(adopted.parent, {"b": SERVERS["b"], "a": SERVERS["a"]})

    with pytest.raises(ConfigurationError, match="TOKEN is not set"):
        client_values.load(adopted)


def test_a_reference_in_the_clients_file_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    url = {"url": "https://mcp.example/mcp", "headers": {"Authorization": "Bearer ${env:GH_TOKEN}"}}

    settings = adoption.adopt(write_client(tmp_path, {"gh": url}), tmp_path / "gateway.yaml", port=8080)

    credential = settings.upstreams["gh"].credential
    assert credential.kind == "header"
    assert credential.value.get_secret_value() == f"Bearer {TOKEN}"


def test_the_file_before_connect_has_the_secrets_afterwards(adopted: Path):
    client = adopted.with_name("mcp.json")
    client.rename(client.with_name(client.name + client_values.BACKUP))
    write_client(adopted.parent, {"opagate": {"command": "opagate", "args": ["connect", "stdio"]}})

    assert secret_of(client_values.load(adopted), "a") == TOKEN


def test_the_file_before_connect_is_found_behind_a_link(adopted: Path, tmp_path: Path):
    client, folder = adopted.with_name("mcp.json"), tmp_path / "dotfiles"
    folder.mkdir()
    client.rename(folder / f"mcp.json{client_values.BACKUP}")
    write_client(folder, {"opagate": {"command": "opagate", "args": ["connect", "stdio"]}})
    client.symlink_to(folder / "mcp.json")

    settings = client_values.load(adopted)

    assert secret_of(settings, "a") == TOKEN
    assert settings.own_files.overlap_of_reading(folder / f"mcp.json{client_values.BACKUP}") is not None


def test_a_command_without_need_of_secrets_works_without_the_clients_file(adopted: Path):
    document = yaml.safe_load(adopted.read_text("utf-8"))
    document["upstreams"]["b"]["command"] = ["y"]
    adopted.write_text(yaml.safe_dump(document), "utf-8")
    adopted.with_name("mcp.json").unlink()

    assert set(client_values.load(adopted, secrets=False).upstreams) == {"a", "b"}
    with pytest.raises(ConfigurationError, match=r"mcp\.json cannot be read"):
        client_values.load(adopted)


def test_a_second_start_changes_no_file_and_names_a_new_server(adopted: Path, capsys: pytest.CaptureFixture[str]):
    before = adopted.read_text("utf-8")
    client = write_client(adopted.parent, {**SERVERS, "c": {"command": "z"}})

    adoption.adopt(client, adopted, port=8080)

    assert adopted.read_text("utf-8") == before
    assert "gateway.yaml lacks c" in capsys.readouterr().err.replace("\n", " ")
