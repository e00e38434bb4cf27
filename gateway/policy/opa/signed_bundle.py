"""A bundle as OPA keeps and distributes it, with its signature and its plan, read from one file. Pure but for the reading.

OPA signs a list of digests of all files (https://www.openpolicyagent.org/docs/management-bundles#signing). Nothing of the
bundle is used before the signature and each digest fit. A file without a digest refuses the bundle.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.model.errors import PolicyBroken

BundleKey: TypeAlias = "RSAKey | ECKey | OKPKey"

_MOST_BYTES: Final = 64 * 2**20
"""Bytes of a bundle, packed or unpacked. The shipped policy has 2 MB."""
_MOST_FILES: Final = 5_000
_SIGNATURES: Final = ".signatures.json"
_MANIFEST: Final = ".manifest"
_PLAN: Final = "plan.json"
_DATA: Final = "data.json"
_DIGESTS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "SHA-256": hashlib.sha256,
    "SHA-384": hashlib.sha384,
    "SHA-512": hashlib.sha512,
}
_ALGORITHMS: Final[Mapping[type, tuple[str, ...]]] = {
    RSAKey: ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ECKey: ("ES256", "ES384", "ES512"),
    OKPKey: ("EdDSA", "Ed25519"),
}
"""The signatures that a key may verify. None is made with a shared secret, since who checks could sign as well."""
_BUILD: Final = "build it with `opa build -b -t plan --signing-key KEY`, and have OPA serve the whole file"


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A verified bundle: its plan, its data as JSON, and its revision."""

    plan: bytes
    data: str
    revision: str


class _SignedFile(msgspec.Struct):
    name: str
    hash: str
    algorithm: str = "SHA-256"


class _SignedFiles(msgspec.Struct):
    files: list[_SignedFile]


class _Signatures(msgspec.Struct):
    signatures: list[str]


class _Manifest(msgspec.Struct):
    revision: str = ""


def read_key(path: Path) -> BundleKey:
    """Return the public key in a PEM file. Raise `PolicyBroken`."""
    try:
        found = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PolicyBroken(
            f"policy.engine.bundle_key: {path} holds no public key: {error}", "name a public key in PEM"
        ) from None
    for kind, made in (
        (rsa.RSAPublicKey, RSAKey),
        (ec.EllipticCurvePublicKey, ECKey),
        (ed25519.Ed25519PublicKey, OKPKey),
    ):
        if isinstance(found, kind):
            return made.import_key(path.read_bytes())
    raise PolicyBroken(
        f"policy.engine.bundle_key: {path} has an unknown kind of key", "use RSA, an elliptic curve or Ed25519"
    )


def read_bundle(path: Path, key: BundleKey) -> SignedBundle:
    """Return the bundle in a file. Raise `PolicyBroken` for a bundle without a good signature, or without a plan."""
    files = _unpack(path)
    _require_signature(files, key, path)
    plan = files.get(_PLAN)
    if plan is None:
        raise PolicyBroken(f"the bundle {path} has no plan", _BUILD)
    try:
        manifest = msgspec.json.decode(files.get(_MANIFEST, b"{}"), type=_Manifest)
    except msgspec.DecodeError:
        raise PolicyBroken(f"the manifest of the bundle {path} cannot be read", _BUILD) from None
    if not manifest.revision:
        raise PolicyBroken(f"the bundle {path} has no revision", "build it with `opa build --revision`")
    return SignedBundle(plan, files.get(_DATA, b"{}").decode(), manifest.revision)


def _unpack(path: Path) -> dict[str, bytes]:
    """Return the files of a packed bundle by their names."""
    files: dict[str, bytes] = {}
    room = _MOST_BYTES
    try:
        with path.open("rb") as opened:
            packed = opened.read(_MOST_BYTES + 1)
        if len(packed) > _MOST_BYTES:
            raise PolicyBroken(f"the bundle {path} is larger than {_MOST_BYTES >> 20} MiB", "serve a smaller one")
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = member.name.removeprefix("./").lstrip("/")
                content = archive.extractfile(member) if member.isfile() else None
                room -= member.size
                if content is None or name in files or room < 0 or len(files) >= _MOST_FILES:
                    raise PolicyBroken(f"the bundle {path} has {name!r} twice, as no file, or beyond its size", _BUILD)
                files[name] = content.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise PolicyBroken(
            f"the bundle {path} cannot be read: {error}",
            "point policy.engine.bundle at the file that OPA keeps (`persist: true`), or wait until OPA has it",
        ) from None
    return files


def _require_signature(files: Mapping[str, bytes], key: BundleKey, path: Path) -> None:
    """Raise `PolicyBroken` unless the signature names all files of a bundle with their digests, and no others."""
    try:
        (token,) = msgspec.json.decode(files[_SIGNATURES], type=_Signatures).signatures
        payload = jws.deserialize_compact(token, key, algorithms=[*_ALGORITHMS[type(key)]]).payload
        signed = msgspec.json.decode(payload or b"", type=_SignedFiles).files
    except KeyError:
        raise PolicyBroken(f"the bundle {path} is not signed", _BUILD) from None
    except (JoseError, ValueError, msgspec.DecodeError):
        raise PolicyBroken(
            f"the signature of the bundle {path} is not one of policy.engine.bundle_key",
            "sign it with that key, or name the key that signs",
        ) from None
    digests = {item.name.lstrip("/"): item for item in signed}
    if digests.keys() != files.keys() - {_SIGNATURES} or len(digests) != len(signed):
        raise PolicyBroken(f"the signature of the bundle {path} is of other files", _BUILD)
    for name, item in digests.items():
        if item.algorithm not in _DIGESTS or _digest(name, files[name], item.algorithm) != item.hash:
            raise PolicyBroken(f"{name} in the bundle {path} is not the file that was signed", _BUILD)


def _digest(name: str, content: bytes, algorithm: str) -> str:
    """Return the digest of a file as OPA makes it: of data and the manifest without regard to spaces and order."""
    if name == _MANIFEST or name.rpartition("/")[2] == _DATA:
        try:
            content = _canonical(json.loads(content, parse_int=_Number, parse_float=_Number))
        except (ValueError, RecursionError):
            return ""
    return str(_DIGESTS[algorithm](content).hexdigest())


class _Number(str):
    """A number, as it was written."""

    __slots__ = ()


def _canonical(value: Any) -> bytes:
    """Return a JSON value as Go writes it, with sorted keys."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return (
            b"{" + b",".join(_text(name) + b":" + _canonical(items[name]) for name in sorted(items, key=_utf8)) + b"}"
        )
    if isinstance(value, list):
        return b"[" + b",".join(map(_canonical, cast("list[Any]", value))) + b"]"
    if isinstance(value, _Number):
        return value.encode()
    return _text(value) if isinstance(value, str) else json.dumps(value).encode()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_ESCAPED: Final = {
    **{chr(code): f"\\u{code:04x}" for code in (*range(0x20), 0x2028, 0x2029)},
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
    '"': '\\"',
    "\\": "\\\\",
}
"""How Go writes the letters of a text that do not stand for themselves."""


def _text(text: str) -> bytes:
    return ('"' + "".join(_ESCAPED.get(letter, letter) for letter in text) + '"').encode("utf-8", "replace")
