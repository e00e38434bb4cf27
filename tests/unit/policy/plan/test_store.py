"""Plans in files, and the cache of their code: nothing but what belongs to the rules and the gateway is used."""

from __future__ import annotations

import marshal
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import folders
from gateway.policy.plan import compile_process, loading, store
from gateway.policy.plan.loading import CodeCache
from gateway.policy.plan.store import PlanTrust, StoredPlan

RULES = [("a.rego", "package a"), ("b.rego", "package b")]
KEY = b"k" * 32
SIGNER = Ed25519PrivateKey.generate()
TRUST = PlanTrust((store.public_text(SIGNER),))
MARK = "0" * 64


def _stored(rules: str = "r") -> StoredPlan:
    return StoredPlan(rules, "1.22.2", msgspec.Raw(b'{"static":{}}'))


def test_the_shipped_plan_is_of_the_shipped_rules():
    shipped = store.unpack(store.SHIPPED.read_bytes(), "shipped.plan")

    assert shipped.rules == store.digest(folders.read_policy(folders.PolicyFolders(folders.find_shipped())).modules)


def test_a_digest_of_rules_depends_on_names_and_texts_and_not_on_their_order():
    assert store.digest(RULES) == store.digest(RULES[::-1])
    assert store.digest(RULES) != store.digest([("a.rego", "package a"), ("c.rego", "package b")])
    assert store.digest([("ab", "c")]) != store.digest([("a", "bc")])


def test_a_plan_is_found_beside_a_folder_for_its_own_rules_alone(tmp_path: Path):
    place = store.beside(tmp_path / "policy")
    place.write_bytes(store.sign(store.pack(_stored("mine")), SIGNER))

    found = store.find("mine", place, TRUST)

    assert found is not None
    assert bytes(found.plan) == b'{"static":{}}'
    assert store.find("other", place, TRUST) is None
    assert store.find("mine", tmp_path / "none.plan", TRUST) is None


@pytest.mark.parametrize("content", [b"", b"no plan", store.pack(_stored())[:-3], store.pack(_stored()) + b"x"])
def test_a_file_that_is_no_plan_is_refused_by_name(tmp_path: Path, content: bytes):
    place = tmp_path / "policy.plan"
    place.write_bytes(store.sign(content, SIGNER))

    with pytest.raises(PolicyBroken) as raised:
        store.find("mine", place, TRUST)
    assert str(place) in raised.value.message


def test_code_is_read_back_by_the_gateway_that_wrote_it(tmp_path: Path):
    cache = CodeCache(tmp_path / "cache", KEY)
    cache.write(MARK, marshal.dumps(compile("x = 1", "f", "exec")))

    code = cache.load_code(MARK)

    assert code is not None
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()] == [0o600]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_code_that_was_changed_swapped_or_written_by_others_is_not_read(tmp_path: Path):
    cache = CodeCache(tmp_path, KEY)
    cache.write(MARK, marshal.dumps(compile("x = 1", "f", "exec")))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()

    assert CodeCache(tmp_path, b"o" * 32).load_code(MARK) is None
    for changed in (
        b"",
        content[:31],
        content[:-1],
        content + b"x",
        content[:40] + bytes([content[40] ^ 1]) + content[41:],
    ):
        path.write_bytes(changed)
        assert cache.load_code(MARK) is None
    path.write_bytes(content)
    path.rename(tmp_path / f"{'1' * 32}.code")
    assert cache.load_code("1" * 64) is None


def test_the_cache_keeps_the_newest_code_alone(tmp_path: Path):
    cache = CodeCache(tmp_path, KEY)
    for mark in (MARK, "1" * 64):
        cache.write(mark, marshal.dumps(compile("x = 1", "f", "exec")))

    assert cache.load_code(MARK) is None
    assert cache.load_code("1" * 64) is not None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path):
    (tmp_path / "file").write_text("")
    cache = CodeCache(tmp_path / "file", KEY)

    cache.write(MARK, b"")

    assert cache.load_code(MARK) is None


def test_another_plan_has_another_mark():
    assert loading.mark_plan(b"a") != loading.mark_plan(b"b")
    assert loading.mark_plan(b"a") == loading.mark_plan(b"a")


@pytest.mark.parametrize(
    "plan",
    [
        b"",
        b"{}",
        b'{"static":{},"plans":{"plans":[]},"funcs":{"funcs":[{"name":"f","params":[0,1],"return":2,"blocks":[{"stmts":[{"type":"EvalStmt","stmt":{}}]}]}]}}',
        b'{"static":{"builtin_funcs":[{"name":"http.send"}]},"plans":{"plans":[]},"funcs":{}}',
        b'{"static":{},"plans":{"plans":[]},"funcs":{"funcs":[{"name":"f","params":[0,1],"return":2,"blocks":[{"stmts":[{"type":"BreakStmt","stmt":{"index":1}}]}]}]}}',
        b'{"static":{},"plans":{"plans":[]},"funcs":{"funcs":[{"name":"f","params":[0,1],"return":2,"blocks":[{"stmts":[{"type":"CallStmt","stmt":{"func":"os.system","args":[],"result":3}}]}]}]}}',
        b'{"static":{},"plans":{"plans":[]},"funcs":{"funcs":[{"name":"f","params":[0,1],"return":2,"blocks":[{"stmts":[{"type":"AssignVarStmt","stmt":{"source":{"type":"string_index","value":7},"target":3}}]}]}]}}',
    ],
)
def test_a_plan_with_anything_unknown_is_refused(plan: bytes):
    with pytest.raises(PolicyBroken):
        compile_process.compile_plan(plan)
