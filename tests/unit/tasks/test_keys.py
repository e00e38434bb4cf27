from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from joserfc.jwk import ECKey, RSAKey

from gateway.errors import ConfigurationError
from gateway.tasks.keys import KEY_FILE, load_key

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once_and_read_again(tmp_path: Path):
    made = load_key(tmp_path / "state")

    assert load_key(tmp_path / "state").thumbprint() == made.thumbprint()
    assert (tmp_path / "state" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "state").iterdir()] == [KEY_FILE]


def _never(_path: Path) -> bool:
    return False


def test_a_key_that_another_process_makes_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = load_key(tmp_path)
    monkeypatch.setattr("pathlib.Path.exists", _never)

    assert load_key(tmp_path).thumbprint() == first.thumbprint()
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path):
    load_key(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)

    with pytest.raises(ConfigurationError, match="others may use"):
        load_key(tmp_path)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        ECKey.generate_key("P-384").as_pem(private=True),
        ECKey.generate_key("P-256").as_pem(private=False),
        RSAKey.generate_key(2048).as_pem(private=True),
    ],
    ids=["empty", "text", "P-384", "public", "RSA"],
)
def test_what_is_no_private_p256_key_is_refused(tmp_path: Path, pem: bytes):
    path = tmp_path / KEY_FILE
    path.write_bytes(pem)
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match="private key") as caught:
        load_key(tmp_path)
    assert str(path) in caught.value.message


def test_a_link_is_not_followed(tmp_path: Path):
    load_key(tmp_path / "real")
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "real" / KEY_FILE)

    with pytest.raises(ConfigurationError, match="cannot be read or made"):
        load_key(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="cannot be read or made"):
        load_key(tmp_path / "file" / "state")
