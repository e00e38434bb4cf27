"""TLS files that change while they are in force: real certificates, looked at as the gateway looks."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.config import TlsSettings
from gateway.model.errors import ConfigurationError
from gateway.wire.http.tls_files import TlsFiles, TlsWatch, serve_tls, trust_authorities
from tests.e2e import certificates
from tests.requirements import requirement
from tests.unit.identity.tokens import Authority
from tests.unit.wire.http.servers import running_server
from tests.unit.wire.http.test_server import GET, PATIENT, answers, connected

HOUR = 3600.0


@pytest.fixture
def authority() -> Authority:
    return Authority(now=time.time())


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> certificates.Pair:
    return certificates.server(authority, tmp_path)


def another(authority: Authority, tmp_path: Path) -> certificates.Pair:
    folder = tmp_path / "another"
    folder.mkdir(exist_ok=True)
    return certificates.server(authority, folder)


def served(pair: certificates.Pair, **more: Path) -> TlsFiles:
    return serve_tls(TlsSettings(certificate=pair.certificate, key=pair.key, **more))


async def looked(files: TlsFiles) -> bool:
    """Look twice: a change counts once it has been still for one look."""
    return await files.look() or await files.look()


@requirement("tls/renewal")
async def test_a_renewed_pair_comes_into_force_once_it_is_still(
    authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    files = served(pair)
    before = files.context
    new = another(authority, tmp_path)
    shutil.copy(new.certificate, pair.certificate)
    shutil.copy(new.key, pair.key)
    assert not await files.look()
    assert await files.look()
    assert files.context is not before
    assert not await looked(files)


@requirement("tls/renewal")
@pytest.mark.parametrize("half", ["certificate", "key"])
async def test_half_of_a_pair_leaves_the_old_one_in_force_and_is_told(
    authority: Authority, pair: certificates.Pair, tmp_path: Path, half: str
):
    files = served(pair)
    before = files.context
    new = another(authority, tmp_path)
    shutil.copy(getattr(new, half), getattr(pair, half))
    assert not await looked(files)
    assert files.context is before
    assert files.problem is not None
    assert "MISMATCH" in files.problem
    assert "the files before stay in force" in files.problem
    for part in ("certificate", "key"):
        shutil.copy(getattr(new, part), getattr(pair, part))
    assert await looked(files)
    assert files.problem is None


@requirement("tls/renewal")
@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None])
async def test_a_file_that_is_cut_or_gone_leaves_the_old_pair_in_force(pair: certificates.Pair, text: bytes | None):
    files = served(pair)
    before = files.context
    if text is None:
        pair.certificate.unlink()
    else:
        pair.certificate.write_bytes(text)
    assert not await looked(files)
    assert files.context is before
    assert files.problem is not None


async def test_a_pair_behind_a_link_is_renewed_with_the_link(
    authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    """Kubernetes renews the files of a secret so."""
    (tmp_path / "first").mkdir()
    for path in (pair.certificate, pair.key):
        shutil.move(path, tmp_path / "first" / path.name)
    another(authority, tmp_path)
    link = tmp_path / "data"
    link.symlink_to("first")
    files = served(certificates.Pair(link / pair.certificate.name, link / pair.key.name))
    (tmp_path / "next").symlink_to("another")
    (tmp_path / "next").replace(link)
    assert await looked(files)


@requirement("tls/renewal")
async def test_an_authority_that_is_taken_out_is_trusted_no_more(authority: Authority, tmp_path: Path):
    other = certificates.written(Authority("other", now=time.time()), tmp_path, "other")
    trusted = certificates.written(authority, tmp_path, "ca")
    both = tmp_path / "both.pem"
    both.write_bytes(trusted.read_bytes() + other.read_bytes())
    files = trust_authorities("upstreams.files.ca", both)
    assert len(files.context.get_ca_certs()) == 2
    both.write_bytes(trusted.read_bytes())
    assert await looked(files)
    assert len(files.context.get_ca_certs()) == 1
    both.write_text("none", "utf-8")
    assert not await looked(files)
    assert len(files.context.get_ca_certs()) == 1


def test_authorities_that_cannot_be_read_are_a_fault_of_the_configuration(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"upstreams\.files\.ca: .* cannot be used"):
        trust_authorities("upstreams.files.ca", tmp_path / "none.pem")


async def test_a_copy_that_brings_its_time_along_is_seen(authority: Authority, tmp_path: Path):
    first, second = (
        certificates.written(found, tmp_path, name).read_bytes()
        for found, name in ((authority, "one"), (Authority("other", now=time.time()), "two"))
    )
    size, path = max(len(first), len(second)), tmp_path / "ca.pem"
    path.write_bytes(first.ljust(size, b"\n"))
    files, found = trust_authorities("upstreams.files.ca", path), path.stat()
    with path.open("r+b") as file:
        file.write(second.ljust(size, b"\n"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert await looked(files)


def test_an_encrypted_key_is_refused_before_anybody_is_asked_for_its_password(pair: certificates.Pair):
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"made up")
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pair.key.write_bytes(key.private_bytes(*form, hidden))
    with pytest.raises(ConfigurationError, match="is encrypted"):
        served(pair)


# --- the end of a certificate ------------------------------------------------------------------------


def times(files: TlsFiles) -> tuple[float, float]:
    assert files.material.validity is not None
    return files.material.validity.since, files.material.validity.until


async def test_the_end_of_a_pair_is_known_and_told_before(pair: certificates.Pair):
    files = served(pair)
    since, until = times(files)
    assert until - since == pytest.approx(timedelta(hours=1, minutes=1).total_seconds())
    assert files.material.validity is not None
    assert not files.material.validity.ends_soon(since)
    # The life of an hour warns in its last third, and not two weeks before.
    assert files.material.validity.ends_soon(until - 1200)
    assert files.explain_end(until - 1) is None
    assert "expired at" in (files.explain_end(until) or "")


@requirement("tls/renewal")
async def test_an_expired_certificate_does_not_replace_a_valid_one(
    authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    files = served(pair)
    before = files.context
    (tmp_path / "old").mkdir()
    old = certificates.server(authority, tmp_path / "old", age=timedelta(days=1))
    shutil.copy(old.certificate, pair.certificate)
    shutil.copy(old.key, pair.key)
    assert not await looked(files)
    assert files.context is before
    assert "expired at" in (files.problem or "")
    new = another(authority, tmp_path)
    shutil.copy(new.certificate, pair.certificate)
    shutil.copy(new.key, pair.key)
    assert await looked(files)
    assert files.problem is None


@requirement("tls/renewal", "operations/readiness")
async def test_an_expired_file_is_a_problem_only_where_no_call_works_without_it(
    authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    now = [time.time()]
    watch = TlsWatch(lambda: now[0])
    served_files = served(pair)
    watch.add(trust_authorities("upstreams.files.ca", certificates.written(authority, tmp_path, "ca")))
    watch.add(served_files, needed=True)
    assert watch.problems() == {}
    left = watch.seconds_left()
    assert left["tls", str(pair.certificate)] == pytest.approx(times(served_files)[1] - now[0])
    assert {place for place, _ in left} == {"tls", "upstreams.files.ca"}
    now[0] += 400 * 24 * HOUR
    assert list(watch.problems()) == ["tls"]


@requirement("tls/renewal")
async def test_a_watch_gives_a_renewed_context_to_its_user(
    authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    adopted: list[ssl.SSLContext] = []
    watch, files = TlsWatch(), served(pair)
    watch.add(files, needed=True, adopt=adopted.append)
    await watch.look()
    assert adopted == []
    new = another(authority, tmp_path)
    shutil.copy(new.certificate, pair.certificate)
    shutil.copy(new.key, pair.key)
    await watch.look()
    await watch.look()
    assert adopted == [files.context]


# --- connections -------------------------------------------------------------------------------------


async def test_many_clients_at_once_shake_hands_and_are_answered(
    authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    """Some send their first record before the server begins TLS, and their request with the last one."""
    tls = served(pair).context
    trusting = ssl.create_default_context(cafile=certificates.written(authority, tmp_path, "ca"))

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(GET + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return head

    async with running_server(answers, PATIENT, tls=tls) as (_, port):
        found = await asyncio.gather(*(ask(port) for _ in range(40)))
    assert all(head.startswith(b"HTTP/1.1 200 ") for head in found)


async def test_a_client_that_does_not_speak_tls_gives_its_place_back(pair: certificates.Pair):
    tls = served(pair).context
    async with running_server(answers, "limits: {connections: 1}\n", tls=tls) as (server, port):
        for sent in (GET + b"\r\n", b"", b"\x16\x03\x01\x00\x05hello"):
            async with connected(port) as (reader, writer):
                writer.write(sent)
                if not sent:
                    writer.close()
                with suppress(ConnectionError):
                    await reader.read()
            while server.serving.connections:
                await asyncio.sleep(0.01)
        assert not server.serving.tasks
