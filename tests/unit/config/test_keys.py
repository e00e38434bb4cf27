"""The gateway's keys: made or given, each for one purpose, and never silently another than before."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from gateway import config
from gateway.config import Configuration, keys
from gateway.config.keys import FILES, Name
from gateway.model.errors import ConfigurationError, GatewayError, JournalError
from tests.requirements import requirement

PEM = ECKey.generate_key("P-256").as_pem(private=True)
GIVEN: dict[Name, bytes] = {
    "chain": b"c" * 32,
    "sealing": b"e" * 32,
    "sessions": b"s" * 32,
    "fingerprints": b"f" * 32,
    "tokens": PEM,
}


def configured(folder: Path, *given: Name) -> Configuration:
    lines = "".join(f"  {name}: mounted/{name}\n" for name in given)
    return config.parse(f"state: state\n{'keys:' if given else ''}\n{lines}", base=folder)


def secrets_of(found: keys.Keys) -> tuple[bytes, ...]:
    return found.chain.newest, found.sealing.newest, found.sessions.newest, found.fingerprints


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Put a key where the configuration gives it, or below the state folder."""

    def writes(name: Name, content: bytes | None = None, *, given: bool = True) -> Path:
        path = tmp_path / ("mounted" if given else "state") / (name if given else FILES[name])
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(GIVEN[name] if content is None else content)
        path.chmod(0o600)
        return path

    return writes


def test_missing_keys_are_made_once_below_the_state_folder(tmp_path: Path):
    made = keys.load(configured(tmp_path), begun=False)
    again = keys.load(configured(tmp_path), begun=True)

    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == sorted(FILES.values())
    assert len(set(secrets_of(made))) == 4
    assert {len(key) for key in secrets_of(made)} == {32}
    assert secrets_of(again) == secrets_of(made)
    assert again.tokens.newest.kid == made.tokens.newest.kid


def test_keys_are_read_without_being_made(tmp_path: Path):
    configuration = configured(tmp_path)

    assert keys.read_keys(configuration, begun=False) == {}
    assert keys.read_chain(configuration) is keys.read_snapshots(configuration) is None
    assert not (tmp_path / "state").exists()
    made = keys.load(configuration, begun=False)
    assert keys.read_keys(configuration, begun=True).keys() == FILES.keys() - {"tokens"}
    snapshots = keys.read_snapshots(configuration)
    assert keys.read_chain(configuration) == made.chain.keys
    assert snapshots is not None
    assert snapshots.keys == made.snapshots.keys


@requirement("operations/keys")
def test_keys_that_are_given_are_used_and_none_is_made(tmp_path: Path, put: Callable[..., Path]):
    for name in FILES:
        put(name)

    found = keys.load(configured(tmp_path, *FILES), begun=False)

    assert secrets_of(found) == (b"c" * 32, b"e" * 32, b"s" * 32, b"f" * 32)
    assert found.tokens.newest.key.as_pem(private=True) == PEM
    assert not (tmp_path / "state").exists()


@requirement("operations/keys")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("begun", [True, False])
def test_a_key_that_is_given_and_missing_is_not_made(tmp_path: Path, name: Name, *, begun: bool):
    """Its mount may have failed. A new one would be another than before, and differ from gateway to gateway."""
    keys.load(configured(tmp_path), begun=False)
    for attempt in (keys.load, keys.read_keys):
        with pytest.raises(GatewayError, match=f"keys.{name} names .*/mounted/{name}, and there is no such file"):
            attempt(configured(tmp_path, name), begun=begun)
    assert not (tmp_path / "mounted").exists()


@pytest.mark.parametrize("name", ["chain", "fingerprints"])
def test_a_key_that_a_journal_was_written_with_is_not_made_anew(tmp_path: Path, name: Name):
    keys.load(configured(tmp_path), begun=False)
    (tmp_path / "state" / FILES[name]).unlink()

    for attempt in (keys.load, keys.read_keys):
        with pytest.raises(JournalError, match="journal was written with a key that is not there") as lost:
            attempt(configured(tmp_path), begun=True)
        assert FILES[name] in str(lost.value)
        assert "put it back from a copy" in lost.value.remedy
    assert not (tmp_path / "state" / FILES[name]).exists()


@pytest.mark.parametrize("name", ["sessions", "tokens"])
def test_a_key_of_what_is_open_is_made_anew(tmp_path: Path, name: Name):
    keys.load(configured(tmp_path), begun=False)
    (tmp_path / "state" / FILES[name]).unlink()

    keys.load(configured(tmp_path), begun=True)

    assert (tmp_path / "state" / FILES[name]).exists()


@pytest.mark.parametrize("encoded", [base64.b64encode(b"s" * 32), base64.b64encode(b"s" * 32) + b"\n"])
def test_a_key_may_be_given_in_base64(tmp_path: Path, put: Callable[..., Path], encoded: bytes):
    put("sessions", encoded)

    assert keys.load(configured(tmp_path, "sessions"), begun=False).sessions.newest == b"s" * 32


@pytest.mark.parametrize("content", [b"", b"short", b"l" * 33, b"x" * 44, base64.b64encode(b"s" * 31), b"\n"])
@pytest.mark.parametrize(("name", "failure"), [("chain", JournalError), ("sessions", ConfigurationError)])
@pytest.mark.parametrize("given", [True, False])
def test_a_damaged_key_is_refused_and_not_replaced(
    tmp_path: Path, put: Callable[..., Path], content: bytes, name: Name, failure: type[GatewayError], *, given: bool
):
    path = put(name, content, given=given)

    with pytest.raises(failure, match="is damaged: it has to be 32 bytes, or those in base64"):
        keys.load(configured(tmp_path, name) if given else configured(tmp_path), begun=False)
    assert path.read_bytes() == content


def test_a_damaged_key_of_tokens_is_refused_and_not_replaced(tmp_path: Path, put: Callable[..., Path]):
    path = put("tokens", b"no key", given=False)

    with pytest.raises(ConfigurationError, match=r"the gateway's key .* is not a private key") as caught:
        keys.load(configured(tmp_path), begun=False)
    assert "from a copy" in caught.value.remedy
    assert path.read_bytes() == b"no key"


@requirement("operations/keys")
@pytest.mark.parametrize("encoded", [b"c" * 32, base64.b64encode(b"c" * 32)])
@pytest.mark.parametrize("name", ["sessions", "fingerprints"])
def test_two_keys_are_not_the_same(tmp_path: Path, put: Callable[..., Path], name: Name, encoded: bytes):
    """Whoever is given one for another gateway would have the other too, such as that of the record."""
    put("chain")
    put(name, encoded)

    for attempt in (keys.load, keys.read_keys):
        with pytest.raises(ConfigurationError, match=f"the keys chain and {name} are the same"):
            attempt(configured(tmp_path, "chain", name), begun=False)


def test_snapshots_under_another_key_of_fingerprints_are_unusable(tmp_path: Path, put: Callable[..., Path]):
    for name in FILES:
        put(name)
    before = keys.load(configured(tmp_path, *FILES), begun=False).snapshots.keys
    put("sessions", b"S" * 32)
    assert keys.load(configured(tmp_path, *FILES), begun=False).snapshots.keys == before
    put("fingerprints", b"F" * 32)
    assert keys.load(configured(tmp_path, *FILES), begun=False).snapshots.keys != before


def test_no_key_is_shown(tmp_path: Path):
    made = keys.load(configured(tmp_path), begun=False)

    assert repr(made.chain.newest)[2:-1] not in repr(made) + repr(made.chain) + repr(made.tokens.newest)
