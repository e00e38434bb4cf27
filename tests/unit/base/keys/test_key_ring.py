"""Rings of keys: the newest writes, each reads, and parts of a running gateway follow a change."""

from __future__ import annotations

from joserfc.jwk import ECKey

from gateway.base.keys.key_ring import KeyRing, SigningKey, derive_ring, find_signer, subkey

OLD, NEW = (ECKey.generate_key("P-256") for _ in range(2))


def test_derived_rings_follow_their_ring():
    ring = KeyRing(b"a")
    derived = derive_ring(ring, "x")
    further = derived.map(bytes.hex)

    ring.renew((b"b", b"a"))

    assert derived.keys == (subkey(b"b", "x"), subkey(b"a", "x"))
    assert further.newest == subkey(b"b", "x").hex()


def test_a_new_key_signs_only_after_verifiers_had_time_to_learn_of_it():
    ring = KeyRing(SigningKey(NEW, 700.0), SigningKey(OLD, 0.0))

    assert find_signer(ring, 699.0).key is OLD
    assert find_signer(ring, 700.0).key is NEW


def test_the_only_key_signs_at_once():
    assert find_signer(KeyRing(SigningKey(NEW, 700.0)), 0.0).key is NEW


def test_no_key_is_shown_by_a_ring_or_a_signing_key():
    secret = str(NEW.as_dict(private=True)["d"])

    assert secret not in f"{SigningKey(NEW)!r} {KeyRing(SigningKey(NEW))!r}"
    assert "6b6b6b" not in repr(KeyRing(b"kkk"))
    assert "kkk" not in repr(KeyRing(b"kkk"))
