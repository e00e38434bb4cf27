"""Files and folders that others could read, change or swap, and those that Kubernetes mounts."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.base import file_access
from gateway.base.file_access import ExposedFile, open_private, require_own_folder
from tests.machine import skip_or_fail
from tests.requirements import requirement

NOBODY = 2**32 - 1
OTHER, STRANGE = 4242, 4243
"""Numbers of a user and a group that no account has."""


def read(path: Path) -> bytes:
    with os.fdopen(open_private(path), "rb") as file:
        return file.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "keys"
    found.mkdir(mode=0o700)
    return found


@pytest.fixture
def key(folder: Path) -> Path:
    path = folder / "key"
    path.write_bytes(b"key")
    path.chmod(0o600)
    return path


@pytest.fixture
def give() -> Callable[..., None]:
    """Give a file to another user or group, as root can."""
    if os.geteuid() != 0:
        skip_or_fail("files of other users; run the tests as root")

    def given(path: Path, user: int = -1, group: int = -1) -> None:
        os.chown(path, user, group, follow_symlinks=False)

    return given


@pytest.fixture
def as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge as a process that is neither root nor any account of this machine."""
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)


def in_group(monkeypatch: pytest.MonkeyPatch, *members: str, primary: bool = False) -> None:
    """Have these accounts in the group `STRANGE`, as a member or by their own group."""
    accounts = [
        SimpleNamespace(pw_name=name, pw_uid=9000 + number, pw_gid=STRANGE if primary else 9000 + number)
        for number, name in enumerate(members)
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(pwd, "getpwnam", {item.pw_name: item for item in accounts}.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", {item.pw_uid: item for item in accounts}.__getitem__)
    team = SimpleNamespace(gr_name="team", gr_mem=[] if primary else list(members))
    monkeypatch.setattr(grp, "getgrgid", {STRANGE: team}.__getitem__)


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_this_user_alone_is_read(key: Path, mode: int):
    key.chmod(mode)

    assert read(key) == b"key"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o606])
def test_a_file_that_others_may_use_is_refused(key: Path, mode: int):
    key.chmod(mode)

    with pytest.raises(ExposedFile, match=f"others may use {key}"):
        read(key)


@requirement("operations/mounted-keys")
@pytest.mark.parametrize("mode", [0o640, 0o440, 0o660])
def test_a_file_that_a_group_may_use_is_read_if_nobody_else_is_in_the_group(
    key: Path, give: Callable[..., None], mode: int
):
    """Kubernetes gives the files of a volume to `fsGroup`, and lets that read and write them."""
    give(key, group=STRANGE)
    key.chmod(mode)

    assert read(key) == b"key"


@pytest.mark.parametrize("primary", [True, False])
def test_a_file_that_a_group_with_others_in_it_may_use_is_refused(
    key: Path, give: Callable[..., None], monkeypatch: pytest.MonkeyPatch, *, primary: bool
):
    give(key, group=STRANGE)
    key.chmod(0o640)
    in_group(monkeypatch, "mallory", "bob", primary=primary)

    with pytest.raises(ExposedFile, match=f"the group team may use {key}, and bob, mallory is in it") as caught:
        read(key)
    assert caught.value.remedy == f"run: chmod g= {key}"


def test_a_file_whose_access_list_names_others_is_refused(key: Path):
    """The rights of the list are shown as those of the group."""
    owner, user, group, mask, other = (1, 6, NOBODY), (2, 4, 1), (4, 0, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)
    entries = b"".join(struct.pack("<HHI", *entry) for entry in (owner, user, group, mask, other))
    try:
        os.setxattr(key, "system.posix_acl_access", struct.pack("<I", 2) + entries)
    except (OSError, AttributeError):
        pytest.skip("the file system of the tests has no access lists")
    assert key.stat().st_mode & 0o777 == 0o640

    with pytest.raises(ExposedFile, match="whoever its access list names may use"):
        read(key)


def test_a_file_of_another_user_is_refused(key: Path, give: Callable[..., None], as_other: None):
    give(key, OTHER + 7)
    give(key.parent, OTHER)

    with pytest.raises(ExposedFile, match=f"key in {key.parent} belongs to the user {OTHER + 7}"):
        read(key)


def test_root_may_read_the_file_of_the_user_whose_folder_it_is_in(key: Path, give: Callable[..., None]):
    for path in (key, key.parent):
        give(path, OTHER)

    assert read(key) == b"key"


def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path):
    os.mkfifo(folder / "pipe", 0o600)
    for path in (folder / "pipe", folder):
        with pytest.raises(ExposedFile, match="is not a file"):
            read(path)
    (folder / "root").symlink_to("/")
    with pytest.raises(ExposedFile, match="/ is a folder"):
        read(folder / "root")


def test_a_file_that_is_missing_is_missing(folder: Path):
    for path in (folder / "none", folder / "none/key", Path("nowhere/key")):
        with pytest.raises(FileNotFoundError):
            read(path)


# --- folders ---------------------------------------------------------------------------------------


def test_a_file_in_a_folder_that_anybody_may_write_to_is_refused(key: Path):
    key.parent.chmod(0o777)

    with pytest.raises(ExposedFile, match=f"others may write to {key.parent}") as caught:
        read(key)
    assert caught.value.remedy == f"run: chmod o-w {key.parent}, or use a folder inside it"


def test_a_folder_below_one_that_anybody_may_write_to_is_safe_if_it_is_this_users(key: Path):
    """Whoever moves it away can put no other in its place that belongs to this user."""
    key.parent.parent.chmod(0o777)

    assert read(key) == b"key"


def test_a_folder_of_another_user_is_refused(key: Path, give: Callable[..., None], as_other: None):
    give(key, OTHER)
    give(key.parent, OTHER + 7)

    with pytest.raises(ExposedFile, match=f"{key.parent} belongs to the user {OTHER + 7}"):
        read(key)


@pytest.mark.parametrize(("members", "safe"), [((), True), (("mallory",), False)])
def test_a_folder_that_a_group_may_write_to_is_safe_if_nobody_else_is_in_the_group(
    key: Path, give: Callable[..., None], monkeypatch: pytest.MonkeyPatch, members: tuple[str, ...], *, safe: bool
):
    give(key.parent, group=STRANGE)
    key.parent.chmod(0o2775)
    in_group(monkeypatch, *members)

    if safe:
        require_own_folder(key.parent)
        assert read(key) == b"key"
        return
    for attempt in (lambda: read(key), lambda: require_own_folder(key.parent)):
        with pytest.raises(ExposedFile, match=f"the group team may write to {key.parent}, and mallory is in it"):
            attempt()


def test_a_folder_for_a_journal_is_not_writable_for_others(folder: Path):
    folder.chmod(0o755)
    require_own_folder(folder)
    folder.chmod(0o757)
    with pytest.raises(ExposedFile, match="others may write"):
        require_own_folder(folder)


# --- links -----------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path, give: Callable[..., None]) -> Path:
    """A secret as the kubelet mounts it with `fsGroup`: a folder that anybody may add to (sticky), with links of root."""
    volume, version = tmp_path / "secret", tmp_path / "secret/..2026_11_28_10_00_00.123456789"
    version.mkdir(parents=True)
    (version / "chain").write_bytes(b"key")
    (volume / "..data").symlink_to(version.name)
    (volume / "chain").symlink_to("..data/chain")
    for path in (volume, version, version / "chain"):
        give(path, 0, STRANGE)
    (version / "chain").chmod(0o440)
    version.chmod(0o2755)
    volume.chmod(0o3777)
    return volume


@requirement("operations/mounted-keys")
def test_a_key_that_the_kubelet_mounts_is_read(mounted: Path, as_other: None):
    assert read(mounted / "chain") == b"key"


@requirement("operations/mounted-keys")
def test_a_key_that_the_kubelet_replaces_is_read_anew(mounted: Path):
    later = mounted / "..2026_11_28_11_00_00.1"
    later.mkdir()
    (later / "chain").write_bytes(b"new")
    (later / "chain").chmod(0o440)
    (mounted / "..data_tmp").symlink_to(later.name)
    (mounted / "..data_tmp").rename(mounted / "..data")

    assert read(mounted / "chain") == b"new"


@pytest.mark.parametrize("name", ["chain", "..data"])
def test_a_link_of_another_user_is_refused(mounted: Path, give: Callable[..., None], as_other: None, name: str):
    give(mounted / name, OTHER + 7)

    with pytest.raises(ExposedFile, match=f"{name} in {mounted} belongs to the user {OTHER + 7}"):
        read(mounted / "chain")


def test_a_link_in_a_folder_that_anybody_may_write_to_is_refused(mounted: Path):
    mounted.chmod(0o777)

    with pytest.raises(ExposedFile, match=f"others may write to {mounted}"):
        read(mounted / "chain")


def test_a_link_that_leads_to_where_others_may_write_is_refused(key: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(key)
    key.parent.chmod(0o777)

    with pytest.raises(ExposedFile, match=f"others may write to {key.parent}"):
        read(tmp_path / "link")


def test_links_are_followed_from_where_they_stand(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/link").symlink_to("../../keys/./key")
    (tmp_path / "state").symlink_to("deep/er")
    monkeypatch.chdir(tmp_path)

    assert read(Path("state/link")) == read(Path("state/../er/link")) == b"key"


def test_links_that_lead_round_in_a_circle_end(folder: Path):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")

    with pytest.raises(OSError, match="symbolic links"):
        read(folder / "a")


def test_a_file_that_is_swapped_while_it_is_looked_at_is_not_read(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is opened is what was looked at: the folder is held, and a link in the place of the file is not followed."""
    planted = tmp_path / "planted"
    planted.write_bytes(b"planted")
    require = file_access._Walk._require_fixed

    def swapping(walk: file_access._Walk, name: str, entry: os.stat_result) -> None:
        require(walk, name, entry)
        key.unlink()
        key.symlink_to(planted)

    monkeypatch.setattr(file_access._Walk, "_require_fixed", swapping)
    with pytest.raises(OSError, match="symbolic links"):
        read(key)


def test_a_folder_that_is_swapped_while_it_is_looked_at_is_not_entered(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "key").write_bytes(b"planted")
    require = file_access._Walk._require_fixed

    def swapping(walk: file_access._Walk, name: str, entry: os.stat_result) -> None:
        require(walk, name, entry)
        key.parent.rename(tmp_path / "away")
        planted.rename(key.parent)

    monkeypatch.setattr(file_access._Walk, "_require_fixed", swapping)

    assert read(key) == b"key"
