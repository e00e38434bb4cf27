"""Exports of people and accounts, as the programs that keep them write them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from gateway.inspection.destinations import directory
from gateway.inspection.destinations.directory import Directory
from gateway.inspection.destinations.find import listed
from gateway.model.errors import ConfigurationError
from tests.requirements import requirement

GOOGLE = "First Name [Required],Last Name [Required],Email Address [Required],Status\r\nAda,Lovelace,ada@corp.example,Active\r\n"
SEMICOLONS = (
    "\ufeffdisplayName;mail;iban\nAda Lovelace;ada@corp.example;DE89 3704 0044 0532 0130 00\nBob;bob@corp.example;\n"
)
LDIF = (
    b"version: 1\n\ndn: uid=ada,ou=people,dc=corp,dc=example\nobjectClass: person\ncn: Ada Lovelace\n"
    b"mail: ada@corp.exa\n mple\nproxyAddresses: SMTP:countess@corp.example\ndescription: mail: eve@evil.example\n\n"
    b"dn: uid=joe,ou=people,dc=corp,dc=example\ncn:: " + base64.b64encode("Jörg".encode()) + b"\n"
    b"mail;x-work:: " + base64.b64encode(b"joe@corp.example") + b"\n"
)
SCIM = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
    "Resources": [
        {
            "userName": "ada",
            "name": {"formatted": "Ada Lovelace"},
            "emails": [{"value": "ada@corp.example", "primary": True}, {"value": "countess@corp.example"}],
            "phoneNumbers": [{"value": "+44 20 7946 0000"}],
        }
    ],
}


def load(tmp_path: Path, name: str, data: bytes) -> Directory:
    (tmp_path / name).write_bytes(data)
    return directory.load_directory([], [tmp_path / name])


def knows(directory: Directory, text: str) -> bool:
    return all(map(directory.knows, listed(text)))


@requirement("directory/files")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("users.csv", GOOGLE.encode()),
        ("users.csv", SEMICOLONS.encode()),
        ("users.LDIF", LDIF),
        ("users.json", json.dumps(SCIM).encode()),
        ("users.json", json.dumps(SCIM["Resources"]).encode()),
    ],
)
def test_the_addresses_of_an_export_are_known(tmp_path: Path, name: str, data: bytes):
    directory = load(tmp_path, name, data)

    assert knows(directory, "ada@corp.example")
    assert not knows(directory, "eve@evil.example")


def test_names_accounts_and_further_addresses_are_read(tmp_path: Path):
    table = load(tmp_path, "users.csv", SEMICOLONS.encode())
    tree = load(tmp_path, "users.ldif", LDIF)
    users = load(tmp_path, "users.json", json.dumps(SCIM).encode())

    assert table.knows_name("ada LOVELACE", next(listed("ada@corp.example")))
    assert knows(table, "DE89370400440532013000")
    assert knows(tree, "countess@corp.example")
    assert tree.knows_name("Jörg", next(listed("joe@corp.example")))
    assert knows(users, "+442079460000")
    assert users.knows_name("Ada Lovelace", next(listed("countess@corp.example")))
    assert not users.knows_name("Bob", next(listed("countess@corp.example")))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("users.xlsx", b"x", "of no known kind"),
        ("users.csv", b"", "names no people"),
        ("users.csv", b"color,size\nred,1\n", "names no people"),
        ("users.csv", b"mail\n\xff\xfe\n", "cannot be read"),
        ("users.json", b"{", "cannot be read"),
        ("users.json", b"[1]", "cannot be read"),
        ("users.json", b'"x"', "cannot be read"),
        ("users.json", b"[" * 100_000, "cannot be read"),
        ("users.ldif", b"dn: uid=a\nmail ada@corp.example\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, data: bytes, problem: str):
    with pytest.raises(ConfigurationError, match=problem) as raised:
        load(tmp_path, name, data)

    assert name in raised.value.message


def test_a_file_that_is_missing_or_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigurationError, match=r"users\.csv cannot be read: No such file"):
        directory.load_directory([], [tmp_path / "users.csv"])
    monkeypatch.setattr(directory, "MAX_BYTES", 10)
    with pytest.raises(ConfigurationError, match="larger than"):
        load(tmp_path, "users.csv", GOOGLE.encode())


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(directory, "MAX_ENTRIES", 1)
    with pytest.raises(ConfigurationError, match="more than 1 entries") as raised:
        load(tmp_path, "users.csv", SEMICOLONS.encode())
    assert "pattern for a whole domain" in (raised.value.remedy or "")


def test_a_star_in_a_file_is_no_pattern(tmp_path: Path):
    """Whoever may edit a profile must not open a domain."""
    directory = load(tmp_path, "users.csv", b"mail\n*@evil.example\nada@corp.example\n")

    assert not directory.patterns
    assert not knows(directory, "eve@evil.example")


def test_a_bad_pattern_of_the_configuration_is_named():
    with pytest.raises(ConfigurationError, match=r"directory: '\*' would name nearly everything"):
        directory.load_directory(["*"], [])
