"""`opagate policy build`: a policy checked, tested and compiled, written for gateways without OPA and for an OPA of your own."""

from __future__ import annotations

import gzip
import io
import os
import secrets
import tarfile
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from gateway.base.keys.key_files import KeyFile
from gateway.model.errors import ConfigurationError
from gateway.policy import authoring
from gateway.policy.folder import folders
from gateway.policy.opa.program import require_opa
from gateway.policy.plan import store
from gateway.policy.plan.store import PlanTrust, UntrustedPlan
from gateway.surfaces.cli import rego

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.policy.folder.bundle import Bundle
    from gateway.policy.folder.folders import PolicyFolders
    from gateway.policy.plan.store import StoredPlan

ARCHIVE = ".tar.gz"


class BuiltPlan(NamedTuple):
    """The place of a signed plan, the digest of the plan, and the public half of its key."""

    place: Path
    digest: str
    key: str


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file, and make a key first if the file is missing. Raise `ConfigurationError`."""
    pem = KeyFile(path, "the key of compiled policies", ConfigurationError).load(_make_key)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} is no Ed25519 private key in PEM, without a password", "name a new file, and a key is made there"
        )
    return key


def _make_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def write_bundle(places: PolicyFolders, target: Path, limit: float) -> Bundle:
    """Write a policy for OPA: a folder, or an archive `….tar.gz` in the place of the one before.

    Raise `PolicyBroken` if a gateway would refuse the policy, and `ConfigurationError` for a target that cannot be written.
    """
    _require_room(target)
    policy = await rego.loadable(places, limit)
    if target.name.endswith(ARCHIVE):
        _write_whole(target, _pack(policy))
    else:
        _write_folder(target, policy)
    return policy


def _require_room(target: Path) -> None:
    if not target.name.endswith(ARCHIVE) and target.exists() and any(target.iterdir()):
        raise ConfigurationError(f"{target} is not empty", "name a new folder")


def _write_folder(target: Path, policy: Bundle) -> None:
    try:
        folders.write(policy, target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}", "name another place") from None


def _pack(policy: Bundle) -> bytes:
    packed = io.BytesIO()
    with authoring.written(policy) as folder, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, f"/{path.relative_to(folder)}", filter=_without_owner)
    return gzip.compress(packed.getvalue(), mtime=0)


@contextmanager
def unpacked(archive: Path) -> Generator[Path]:
    """Give a folder with the policy of an archive. Raise `ConfigurationError` for a file that is no such archive."""
    with tempfile.TemporaryDirectory(prefix="opagate-policy-") as folder:
        try:
            with tarfile.open(archive, "r:gz") as packed:
                packed.extractall(folder, filter="data")
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise ConfigurationError(
                f"{archive} is no policy archive: {error}",
                "name a folder, or an archive that `opagate policy build` wrote",
            ) from None
        yield Path(folder)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def write_plan(places: PolicyFolders, sign: Path) -> BuiltPlan:
    """Write the signed plan of own rules beside their folder. Raise `PolicyBroken` and `ConfigurationError`."""
    key, (place, stored) = signing_key(sign), _judge(places)
    _write_whole(place, store.sign(store.pack(stored), key))
    return BuiltPlan(place, store.digest_of(bytes(stored.plan)), store.public_text(key))


def compare_plan(places: PolicyFolders, trust: PlanTrust) -> tuple[Path, str, str | None]:
    """Build a policy. Return the place of its plan, the digest of the built plan, and the difference from the plan there."""
    place, made = _judge(places)
    digest = store.digest_of(bytes(made.plan))
    try:
        there = store.find(made.rules, place, trust)
    except UntrustedPlan as error:
        return place, digest, f"it {error}"
    if there is None:
        return place, digest, "there is none for these rules"
    if bytes(there.plan) == bytes(made.plan):
        return place, digest, None
    return place, digest, f"OPA {made.opa} makes another one (the file says that OPA {there.opa} made it)"


def _judge(places: PolicyFolders) -> tuple[Path, StoredPlan]:
    require_opa("`opagate policy build`")
    policy, suites = folders.read_with_suites(places)
    if not places.planned or store.digest(policy.modules) == store.read_shipped().rules:
        raise ConfigurationError("the shipped rules come compiled", "name own rules with --path or --overlay")
    return store.beside(places.planned[0]), authoring.judge(policy, suites)


def _write_whole(place: Path, content: bytes) -> None:
    fresh = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(content)
        fresh.replace(place)
    except OSError as error:
        raise ConfigurationError(f"{place} cannot be written: {error.strerror}", "make its folder writable") from None
