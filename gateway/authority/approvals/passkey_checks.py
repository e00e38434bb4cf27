"""The checks of a new passkey and of a signature, by the package webauthn. It is the extra `opagate[passkeys]`. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any, Final, NamedTuple

import msgspec
import webauthn
from msgspec import Struct, structs
from webauthn.helpers.exceptions import WebAuthnException

from gateway.authority.approvals.model import PasskeySignature
from gateway.authority.approvals.passkey import InvalidPasskeyError, Passkey, RepeatedCountError, find_relying_party

_MALFORMED: Final = (WebAuthnException, ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What the package raises for a foreign text."""


class MadeKey(NamedTuple):
    """A passkey as the browser made it: its id and its public key in base64url, and its number of signatures."""

    id: str
    public_key: str
    signatures: int


def verify_registration(answer: str, challenge: bytes, origin: str) -> MadeKey:
    """Return the passkey that a browser made. Raise `InvalidPasskeyError`."""
    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=find_relying_party(origin) or "",
            expected_origin=origin,
            require_user_verification=True,
        )
    except _MALFORMED as error:
        raise InvalidPasskeyError(str(error)) from None
    return MadeKey(_encode(made.credential_id), _encode(made.credential_public_key), made.sign_count)


def read_signature(answer: str) -> PasskeySignature:
    """Return the signature in a browser's answer. Raise `InvalidPasskeyError`."""
    try:
        found = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise InvalidPasskeyError(str(error)) from None
    parts = found.response
    return PasskeySignature(found.id, parts.authenticatorData, parts.clientDataJSON, parts.signature)


class _Parts(Struct, frozen=True):
    authenticatorData: str  # noqa: N815 - the names of the standard
    clientDataJSON: str  # noqa: N815
    signature: str


class _Answer(Struct, frozen=True):
    id: str
    response: _Parts


def verify_signature(signature: PasskeySignature, challenge: bytes, key: Passkey) -> Passkey:
    """Return the passkey after a signature, with its new count. Raise `InvalidPasskeyError`.

    The signature has to be of this key, of this challenge, from a page of the key's origin, and after the authenticator verified
    its person.
    """
    parts = {
        "authenticatorData": signature.authenticator,
        "clientDataJSON": signature.client,
        "signature": signature.signature,
    }
    try:
        if signature.key != key.id:
            raise InvalidPasskeyError("another passkey made the signature")
        if _is_cross_origin(signature.client):
            raise InvalidPasskeyError("a page inside a page of others asked for the signature")
        found = webauthn.verify_authentication_response(
            credential={"id": key.id, "rawId": key.id, "type": "public-key", "response": parts},
            expected_challenge=challenge,
            expected_rp_id=find_relying_party(key.origin) or "",
            expected_origin=key.origin,
            credential_public_key=webauthn.base64url_to_bytes(key.public_key),
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except _MALFORMED as error:
        raise InvalidPasskeyError(str(error)) from None
    if max(found.new_sign_count, key.count) > 0 and found.new_sign_count <= key.count:
        raise RepeatedCountError(key.id, f"its count is {found.new_sign_count}, and the last one was {key.count}")
    return structs.replace(key, count=found.new_sign_count)


def _is_cross_origin(client: str) -> bool:
    found = msgspec.json.decode(webauthn.base64url_to_bytes(client), type=dict[str, Any])
    return found.get("crossOrigin") is True


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).decode("ascii").rstrip("=")
