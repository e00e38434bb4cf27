"""Settings of isolation, and the gateway's own files, which no server may have."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.config import InvalidSettings, isolation, load, parse
from gateway.config.isolation import Account, NoIsolation, Sandbox


def problems(text: str, base: Path) -> str:
    with pytest.raises(InvalidSettings) as caught:
        parse(text, base=base)
    return "; ".join(caught.value.problems)


def upstream(more: str) -> str:
    return f"upstreams: {{a: {{command: [x], audience: a, {more}}}}}"


def test_a_sandbox_is_the_default_without_network_or_files():
    found = parse("upstreams: {a: {command: [x], audience: a}}", base=Path()).upstreams["a"]

    assert (found.isolation, found.network, found.files.read, found.files.write) == (Sandbox(), False, (), ())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sandbox", Sandbox()),
        ("{kind: account, user: mcp}", Account(kind="account", user="mcp")),
        (
            "{kind: none, accepted_by: ada, until: 2027-03-01}",
            NoIsolation(kind="none", accepted_by="ada", until=date(2027, 3, 1)),
        ),
    ],
)
def test_the_kinds_are_written_as_a_word_or_a_mapping(written: str, expected: object):
    assert parse(upstream(f"isolation: {written}"), base=Path()).upstreams["a"].isolation == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (upstream("isolation: none"), "accepted_by: it is missing"),
        (upstream("isolation: {kind: none, accepted_by: ada}"), "until: it is missing"),
        (upstream("isolation: account"), "user: it is missing"),
        (upstream("isolation: chroot"), "there is no kind 'chroot'"),
        ("upstreams: {a: {url: 'http://x', audience: a, files: {read: [/srv]}}}", "files is for a command (stdio)"),
        ("upstreams: {a: {url: 'http://x', audience: a, isolation: sandbox}}", "isolation is for a command (stdio)"),
        (upstream("isolation: {kind: account, user: x}, network: true"), "network is for isolation: sandbox"),
        (upstream("network: [0]"), "network"),
        (upstream("network: [70000]"), "network"),
    ],
)
def test_an_unusable_setting_is_named(text: str, expected: str):
    assert expected in problems(text, Path())


def test_two_upstreams_do_not_share_an_account():
    text = "{command: [x], audience: a, isolation: {kind: account, user: mcp}}"

    assert "upstream a runs as mcp too" in problems(f"upstreams: {{a: {text}, b: {text}}}", Path())


OWN = """
state: state
policy: {grants: grants.yaml, overlay: rules, path: policy}
keys: {tokens: secrets/tokens.pem}
tls: {certificate: public/cert.pem, key: secrets/tls.pem}
socket: run/desk.sock
console: {}
"""


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize(
    "declared",
    [
        "state",
        "state/journal",
        "grants.yaml",
        "rules",
        "rules/a",
        "policy",
        "secrets",
        "secrets/tls.pem",
        "run",
        ".",
        "catalogue.lock",
        "gateway.yaml",
        "pat.txt",
        "/",
        "sub/../state",
        "linked",
        "linked/journal",
    ],
)
def test_a_declared_path_that_overlaps_the_gateways_own_is_refused(tmp_path: Path, way: str, declared: str):
    for folder in ("state/journal", "sub"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "state")
    (tmp_path / "pat.txt").write_text("Bearer secret")
    server = f"a: {{command: [x], audience: a, files: {{{way}: ['{declared}']}}, env: {{PAT: 'file:pat.txt'}}}}"
    (tmp_path / "gateway.yaml").write_text(f"{OWN}\nupstreams: {{{server}}}\n")

    with pytest.raises(InvalidSettings, match=r"files\.\w+: .* overlaps .*, which is the gateway's own"):
        load(tmp_path / "gateway.yaml")


def test_public_certificates_are_read_and_not_written(tmp_path: Path):
    assert parse(OWN + upstream("files: {read: [public]}"), base=tmp_path)
    assert "public overlaps" in problems(OWN + upstream("files: {write: [public]}"), tmp_path)


def test_the_gateways_program_is_not_written(tmp_path: Path):
    folder = Path(isolation.__file__).parents[1]
    assert "which is the gateway's own" in problems(upstream(f"files: {{write: ['{folder}']}}"), tmp_path)


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_path_inside_of_a_folder_that_a_server_may_write_is_refused(tmp_path: Path, way: str):
    other = f"b: {{command: [x], audience: b, files: {{{way}: [drop/in]}}}}"
    text = f"upstreams: {{a: {{command: [x], audience: a, files: {{write: [drop]}}}}, {other}}}"

    assert "drop, which upstream a may write" in problems(text, tmp_path)


def test_two_servers_may_share_a_folder(tmp_path: Path):
    server = "{command: [x], audience: a, files: {write: [drop]}}"

    assert parse(f"upstreams: {{a: {server}, b: {server}}}", base=tmp_path)


def test_the_files_of_a_server_are_not_the_gateways_own(tmp_path: Path):
    text = upstream("cwd: work, files: {read: [data], write: [drop]}")
    found = parse(text, base=tmp_path).own_files

    assert not {tmp_path / name for name in ("work", "data", "drop")} & set(found.hidden)
    assert found.changeable == (tmp_path / "drop",)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("hand_over: {file: A}}, isolation: {kind: account, user: x}", "hand_over.file is private"),
        ("hand_over: {aws_container: true}}", "write network: true"),
        ("hand_over: {aws_container: true}}, network: [443]", "write network: true"),
    ],
)
def test_a_credential_that_cannot_reach_its_server_is_refused(more: str, expected: str):
    text = upstream(f"credential: {{kind: aws_sts, broker: b, role: 'arn:aws:iam::123456789012:role/r', {more}")

    assert expected in problems(text, Path())
