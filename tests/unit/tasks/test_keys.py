from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigurationError
from gateway.tasks.keys import KEY_FILE, load_key

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once_below_the_state_folder_and_read_again(tmp_path: Path):
    made = load_key(tmp_path / "state")

    assert load_key(tmp_path / "state").thumbprint() == made.thumbprint()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [KEY_FILE]


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path):
    path = tmp_path / KEY_FILE
    path.write_bytes(b"no key")
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match=r"the gateway's key .* is not a private key") as caught:
        load_key(tmp_path)
    assert "from a copy" in caught.value.remedy
    assert path.read_bytes() == b"no key"
