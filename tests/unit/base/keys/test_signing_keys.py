from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.base.keys import signing_keys
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once_and_read_again(tmp_path: Path):
    made = signing_keys.load(tmp_path / "key.pem", "the test's key", remedy="mend it")

    assert made.curve_name == "P-256"
    assert signing_keys.load(tmp_path / "key.pem", "the test's key", remedy="mend it").as_dict() == made.as_dict()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path):
    signing_keys.load(tmp_path / "key.pem", "the test's key", remedy="mend it")
    (tmp_path / "key.pem").chmod(0o604)

    with pytest.raises(ConfigurationError, match="others may use"):
        signing_keys.load(tmp_path / "key.pem", "the test's key", remedy="mend it")


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        ECKey.generate_key("P-384").as_pem(private=True),
        ECKey.generate_key("P-256").as_pem(private=False),
        RSAKey.generate_key(2048).as_pem(private=True),
        OKPKey.generate_key("Ed25519").as_pem(private=True),
    ],
    ids=["empty", "text", "P-384", "public", "RSA", "Ed25519"],
)
def test_what_is_no_private_p256_key_is_refused_and_not_replaced(tmp_path: Path, pem: bytes):
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match=r"the test's key .*key\.pem is not a (P-256 )?private key") as caught:
        signing_keys.load(path, "the test's key", remedy="mend it")
    assert caught.value.remedy == "mend it"
    assert path.read_bytes() == pem


def test_a_derived_key_is_the_same_each_time_and_another_for_each_purpose_and_key():
    key, other = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    derived = signing_keys.derive(key, "access tokens")

    assert derived.is_private
    assert derived.thumbprint() == signing_keys.derive(key, "access tokens").thumbprint()
    thumbprints = {
        each.thumbprint()
        for each in (key, derived, signing_keys.derive(key, "other"), signing_keys.derive(other, "access tokens"))
    }
    assert len(thumbprints) == 4
