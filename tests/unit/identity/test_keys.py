import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.identity import keys as module
from gateway.identity.keys import FileSource, IssuerKeys, LoadError, UrlSource
from gateway.model.errors import IdentityUnavailable
from tests.unit.identity.tokens import ISSUER, Authority, Clock, Signer

if TYPE_CHECKING:
    from gateway.identity.keys import KeySource


class Place:
    """A source whose answer, delay and failure a test sets."""

    place = "https://idp.example/keys"

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data
        self.loads = 0
        self.closed = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> bytes:
        self.loads += 1
        await self.gate.wait()
        if self.data is None:
            raise LoadError("https://idp.example/keys cannot be reached: ConnectError")
        return self.data

    async def aclose(self) -> None:
        self.closed = True


def make(source: "KeySource", clock: Clock | None = None) -> IssuerKeys:
    return IssuerKeys(ISSUER, source, clock=clock or Clock())


async def test_keys_are_loaded_at_the_start_and_found():
    place = Place(Signer().jwks())
    keys = make(place)
    assert not keys.status().ready
    await keys.start()
    assert [key.kid for key in await keys.find("k1", "ES256")] == ["k1"]
    status = keys.status()
    assert (status.ready, status.keys, status.problem) == (True, 1, None)
    await keys.stop()
    assert place.closed


async def test_a_server_that_is_away_at_the_start_is_a_warning_and_later_found():
    place, clock = Place(), Clock()
    keys = make(place, clock)
    with capture_logs() as logs:
        await keys.start()
    assert [entry["event"] for entry in logs] == ["identity.keys-unavailable"]
    with pytest.raises(IdentityUnavailable, match="ConnectError") as raised:
        await keys.find("k1", "ES256")
    assert raised.value.remedy
    place.data = Signer().jwks()
    clock.now += module.FORCED_INTERVAL
    assert len(await keys.find("k1", "ES256")) == 1
    await keys.stop()


async def test_an_unknown_key_id_causes_one_refresh_and_finds_a_rotated_key():
    place = Place(Signer("k1").jwks())
    keys = make(place)
    await keys.refresh()
    generation = keys.generation
    place.data = Signer("k2").jwks()
    assert len(await keys.find("k2", "ES256")) == 1
    assert keys.generation == generation + 1
    assert await keys.find("k1", "ES256") == ()
    await keys.stop()


async def test_invented_key_ids_cannot_hammer_the_server():
    place, clock = Place(Signer().jwks()), Clock()
    keys = make(place, clock)
    await keys.refresh()
    for number in range(100):
        assert await keys.find(f"invented-{number}", "ES256") == ()
    assert place.loads == 2
    clock.now += module.FORCED_INTERVAL
    await keys.find("invented", "ES256")
    assert place.loads == 3
    await keys.stop()


async def test_concurrent_refreshes_are_one():
    place = Place(Signer("k1").jwks())
    place.gate.clear()
    keys = make(place)
    callers = [asyncio.create_task(keys.find("k1", "ES256")) for _ in range(50)]
    await asyncio.sleep(0)
    place.gate.set()
    assert all(len(found) == 1 for found in await asyncio.gather(*callers))
    assert place.loads == 1
    await keys.stop()


async def test_a_caller_that_gives_up_does_not_cancel_the_refresh_for_others():
    place = Place(Signer().jwks())
    place.gate.clear()
    keys = make(place)
    one, other = (asyncio.create_task(keys.find("k1", "ES256")) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    place.gate.set()
    assert len(await other) == 1
    with pytest.raises(asyncio.CancelledError):
        await one
    await keys.stop()


async def test_last_good_keys_serve_while_the_server_is_away_and_a_new_key_is_not_guessed():
    place = Place(Signer("k1").jwks())
    keys = make(place)
    await keys.refresh()
    place.data = None
    await keys.refresh()
    assert len(await keys.find("k1", "ES256")) == 1
    with pytest.raises(IdentityUnavailable):
        await keys.find("k2", "ES256")
    assert keys.status().ready
    assert keys.status().problem == "https://idp.example/keys cannot be reached: ConnectError"
    await keys.stop()


async def test_keys_that_could_not_be_renewed_for_a_day_count_for_nothing():
    place, clock = Place(Signer().jwks()), Clock()
    keys = make(place, clock)
    await keys.refresh()
    place.data = None
    clock.now += module.MAX_AGE - 1
    assert len(await keys.find("k1", "ES256")) == 1
    clock.now += 1
    with pytest.raises(IdentityUnavailable):
        await keys.find("k1", "ES256")
    assert not keys.status().ready
    assert keys.status().keys == 0
    await keys.stop()


@pytest.mark.parametrize("data", [b"<html>", b'{"keys":[]}', b"[" * 100_000])
async def test_a_broken_document_leaves_the_last_good_keys(data: bytes):
    place = Place(Signer().jwks())
    keys = make(place)
    await keys.refresh()
    place.data = data
    with capture_logs() as logs:
        await keys.refresh()
        await keys.refresh()
    assert [entry["event"] for entry in logs] == ["identity.keys-unavailable"]
    assert len(await keys.find("k1", "ES256")) == 1
    await keys.stop()


async def test_the_generation_grows_only_with_a_change():
    place = Place(Signer("k1").jwks())
    keys = make(place)
    await keys.refresh()
    await keys.refresh()
    assert keys.generation == 1
    place.data = Signer("k2").jwks()
    await keys.refresh()
    assert keys.generation == 2
    await keys.stop()


async def test_a_key_that_is_left_out_is_reported_once():
    data = json.dumps({"keys": [Signer().jwk(), {"kty": "oct", "k": "c2VjcmV0LW1hcmtlcg"}]}).encode()
    keys = make(Place(data))
    with capture_logs() as logs:
        await keys.refresh()
        await keys.refresh()
    assert [entry["event"] for entry in logs] == ["identity.key-left-out", "identity.keys-loaded"]
    assert "c2VjcmV0" not in repr(logs)
    await keys.stop()


async def test_a_file_that_changes_is_read_again_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_FILE_INTERVAL", 0.001)
    path = tmp_path / "keys.json"
    path.write_bytes(Signer("k1").jwks())
    keys = make(FileSource(path))
    await keys.start()
    path.write_bytes(Signer("k2").jwks())
    async with asyncio.timeout(300):
        while keys.generation < 2:
            await asyncio.sleep(0.001)
    assert len(await keys.find("k2", "ES256")) == 1
    await keys.stop()


async def test_between_two_looks_in_the_background_is_the_interval(monkeypatch: pytest.MonkeyPatch):
    waited: list[float] = []
    begun = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        begun.set()
        await asyncio.Event().wait()

    place = Place(Signer().jwks())
    keys = make(place)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    await keys.start()
    async with asyncio.timeout(300):
        await begun.wait()
    assert (waited, place.loads) == ([300], 1)
    await keys.stop()


async def test_how_often_keys_are_looked_at(tmp_path: Path):
    place = Place(Signer().jwks())
    keys = make(place)
    await keys.refresh()
    assert keys.interval() == 300
    for hint, seconds in ((60, 60), (1, 30), (10**6, 3600)):
        place.data = json.dumps({"keys": [Signer().jwk()], "spiffe_refresh_hint": hint}).encode()
        await keys.refresh()
        assert keys.interval() == seconds
    place.data = None
    await keys.refresh()
    assert keys.interval() == 10
    assert make(FileSource(tmp_path)).interval() == 5
    assert make(UrlSource("https://idp.example/keys")).interval() == 10
    await keys.stop()


async def test_the_authorities_of_a_trust_domain_are_found_or_unavailable():
    place = Place(json.dumps({"keys": [Authority().jwk()]}).encode())
    keys = IssuerKeys("spiffe://corp", place, clock=Clock(), use="jwt-svid")
    assert len((await keys.authorities()).authorities) == 1
    assert len((await keys.authorities()).authorities) == 1
    assert place.loads == 1
    await keys.stop()
    away = make(Place())
    with pytest.raises(IdentityUnavailable):
        await away.authorities()
    await away.stop()


async def test_stopping_ends_a_refresh_that_hangs():
    place = Place(Signer().jwks())
    keys = make(place)
    await keys.start()
    place.gate.clear()
    hanging = asyncio.create_task(keys.refresh())
    await asyncio.sleep(0)
    await keys.stop()
    await hanging
    assert place.loads == 2


async def test_an_older_bundle_does_not_replace_a_newer_one():
    def bundle(sequence: int | None, kid: str) -> bytes:
        members = {} if sequence is None else {"spiffe_sequence": sequence}
        return json.dumps({"keys": [Signer(kid).jwk(use="jwt-svid")], **members}).encode()

    place = Place(bundle(7, "new"))
    keys = IssuerKeys("spiffe://corp", place, clock=Clock(), use="jwt-svid")
    await keys.refresh()
    place.data = bundle(6, "old")
    await keys.refresh()
    assert "older bundle" in (keys.status().problem or "")
    assert len(await keys.find("new", "ES256")) == 1
    for sequence, kid in ((7, "same"), (8, "next"), (None, "unnumbered"), (1, "numbered again")):
        place.data = bundle(sequence, kid)
        await keys.refresh()
        assert len(await keys.find(kid, "ES256")) == 1
    await keys.stop()
