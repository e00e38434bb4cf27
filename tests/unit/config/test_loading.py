"""A configuration file, read."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gateway import config
from gateway.model.errors import ConfigurationError
from tests.unit.configuring import parse, problems


def test_an_empty_file_is_a_configuration_of_defaults():
    settings = parse("")

    assert settings == parse("{}")
    assert (settings.listen, settings.identity, settings.upstreams) == ("127.0.0.1:8080", (), {})
    assert settings.limits.request_bytes == 4 * 2**20


def test_relative_paths_are_relative_to_the_file(tmp_path: Path):
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "policy: {path: rego}\njournal: {path: /var/journal}\nupstreams: {a: {command: [x], audience: a, cwd: work}}"
    )
    settings = config.load(path)

    assert settings.state == tmp_path / "state"
    assert settings.policy.path == tmp_path / "rego"
    assert settings.catalogue.lock == tmp_path / "catalogue.lock"
    assert settings.journal.path == Path("/var/journal")
    assert settings.upstreams["a"].cwd == tmp_path / "work"


def test_paths_in_defaults_are_relative_to_the_file_also_in_sections_that_are_left_out(tmp_path: Path):
    assert parse("", tmp_path).journal.path == tmp_path / "state/journal"
    assert parse("journal: {fsync: always}", tmp_path).journal.path == tmp_path / "state/journal"


def test_a_file_that_is_not_there_names_the_remedy(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="there is no configuration file") as raised:
        config.load(tmp_path / "gateway.yaml")

    assert "opagate init" in raised.value.remedy


@pytest.mark.parametrize(
    ("content", "said"), [(None, "gateway.yaml cannot be read: Is a directory$"), (b"\xff\xfe\x00", "it is not UTF-8$")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, said: str):
    path = tmp_path / "gateway.yaml"
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=said) as raised:
        config.load(path)

    assert raised.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: 1\nlisten: 2", r"line 2, column 1: the key 'listen' is given twice"),
        ("upstreams:\n  a: {url: x, url: y}", r"line 2, column 15: the key 'url' is given twice"),
        ("a: [", r"line 2, column 1: not YAML"),
        ("? [a]\n: 1", r"line 1, column 3: found unhashable key"),
        ("listen: x\nuntil: 2020-13-01", r"line 2, column 8: it is no value; put it in quotes if it is text"),
        ("upstreams:\n  a: &a {url: x}\n  b: *a", r"line 3, column 6: aliases are not read"),
    ],
)
def test_what_is_not_strict_yaml_is_told_with_its_place(text: str, said: str):
    with pytest.raises(ConfigurationError, match=rf"gateway\.yaml cannot be read: {said}") as raised:
        parse(text)

    assert "\n" not in raised.value.message


def test_a_file_that_the_user_may_not_read_has_a_remedy_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied") as raised:
        config.load(tmp_path / "gateway.yaml")

    assert raised.value.remedy == "let the user that runs opagate read the file"


def test_a_list_is_no_configuration():
    with pytest.raises(ConfigurationError, match="not a mapping at its top level"):
        parse("- listen: 1")


def test_keys_that_are_not_text_are_told():
    assert problems("1: 2") == ("1: a key should be text; put it in quotes",)
