"""The packages that a command fetches: all of them are found, and an exact version is told from a moving one."""

from __future__ import annotations

import shlex

import pytest

from gateway.config.packages import PackageLock, find_lockable, find_packages
from gateway.model.errors import ConfigurationError

COMMIT = "a" * 40
DIGEST = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (
            "npx -y @modelcontextprotocol/server-filesystem@2025.8.21 /data",
            [("@modelcontextprotocol/server-filesystem", "2025.8.21")],
        ),
        ("npx --yes --registry https://r.example pkg@1.2.3-beta.1 --port 1", [("pkg", "1.2.3-beta.1")]),
        ("npx -p pkg@1.2.3 --package=other@4.5.6 tool@9", [("pkg", "1.2.3"), ("other", "4.5.6")]),
        ("npx alias@npm:real@1.0.0", [("real", "1.0.0")]),
        (f"npx github:acme/server#{COMMIT}", [(f"github:acme/server#{COMMIT}", COMMIT)]),
        ("npm exec -- pkg@1.2.3", [("pkg", "1.2.3")]),
        ("npm --silent exec pkg@1.2.3", [("pkg", "1.2.3")]),
        ("pnpm dlx pkg@1.2.3", [("pkg", "1.2.3")]),
        ("yarn dlx pkg@1.2.3", [("pkg", "1.2.3")]),
        ("bunx pkg@1.2.3", [("pkg", "1.2.3")]),
        ("bun x pkg@1.2.3", [("pkg", "1.2.3")]),
        ("deno run -A npm:@acme/pkg@1.2.3/server", [("@acme/pkg", "1.2.3")]),
        ("deno run -A jsr:@acme/pkg@1.2.3", [("@acme/pkg", "1.2.3")]),
        ("uvx mcp-server-git==2025.8.1 --repository .", [("mcp-server-git", "2025.8.1")]),
        ("uvx mcp-server-git@2025.8.1", [("mcp-server-git", "2025.8.1")]),
        ("uvx --python 3.13 --from 'pkg[cli]==1.0' --with extra==2.0 tool", [("pkg", "1.0"), ("extra", "2.0")]),
        ("uv tool run pkg==1.0rc1", [("pkg", "1.0rc1")]),
        ("pipx run --spec pkg==1.0 tool", [("pkg", "1.0")]),
        (f"uvx --from git+https://git.example/acme/pkg@{COMMIT} tool", [("git", COMMIT)]),
        (f"docker run -i --rm -e TOKEN mcp/time@{DIGEST}", [("mcp/time", DIGEST)]),
        (
            f"docker container run --network none r.example:5000/a/b:1@{DIGEST} serve",
            [("r.example:5000/a/b:1", DIGEST)],
        ),
        ("/opt/node/bin/npx pkg@1.2.3", [("pkg", "1.2.3")]),
        ("env NODE_ENV=production npx pkg@1.2.3", [("pkg", "1.2.3")]),
    ],
)
def test_a_package_with_an_exact_version_is_told(command: str, found: list[tuple[str, str]]):
    assert [(one.name, one.version) for one in find_packages(shlex.split(command))] == found


@pytest.mark.parametrize(
    "command",
    [
        *(
            "npx pkg",
            "npx -y pkg@latest",
            "npx pkg@1",
            "npx pkg@1.2",
            "npx pkg@^1.2.3",
            "npx pkg@~1.2.3",
            "npx 'pkg@1.2.3 || 2'",
        ),
        *(
            "npx pkg@*",
            "npx pkg@1.2.x",
            "npx 'pkg@>=1.2.3'",
            "npx @acme/pkg",
            "npx alias@npm:real",
            "npx github:acme/server",
        ),
        *(
            "npx github:acme/server#main",
            "npx https://r.example/pkg.tgz",
            "npx -p pkg tool@1.2.3",
            "npx --package=pkg tool",
        ),
        *("npm exec pkg", "npm x pkg", "pnpm dlx pkg", "pnpx pkg", "yarn dlx pkg", "bunx pkg", "bun x pkg"),
        *("deno run npm:pkg", "deno run -A npm:@acme/pkg@1", "deno run https://deno.example/server.ts"),
        *("uvx pkg", "uvx pkg@latest", "uvx 'pkg>=1.0'", "uvx 'pkg==1.*'", "uvx 'pkg==1.0,!=1.1'", "uvx 'pkg~=1.0'"),
        *(
            "uvx --from pkg tool==1.0",
            "uvx --with extra pkg==1.0",
            "uvx -w extra pkg==1.0",
            "uv tool run pkg",
            "pipx run pkg",
        ),
        *("uvx --from git+https://git.example/acme/pkg tool", "uvx --from git+https://git.example/acme/pkg@main tool"),
        *(
            "docker run mcp/time",
            "docker run -i --rm mcp/time:latest",
            "docker run mcp/time:1.2.3",
            "podman run -e A=b x/y:1",
        ),
        *(
            "NPX.CMD pkg",
            "C:\\\\node\\\\npx.cmd pkg",
            "cmd /c npx pkg",
            "sh -c 'npx pkg'",
            "bash -lc 'cd /x && exec npx pkg'",
        ),
        *("env A=b npx pkg", "nice -n 10 npx pkg", "timeout 60 npx pkg", "A=b npx pkg", "bash -c 'A=b uvx pkg; true'"),
    ],
)
def test_a_package_that_may_change_is_told(command: str):
    assert None in [one.version for one in find_packages(shlex.split(command))], find_packages(shlex.split(command))


@pytest.mark.parametrize(
    "command",
    [
        *(
            "node server.js",
            "python -m server",
            "npm run start",
            "npm start",
            "uv run server.py",
            "docker ps",
            "deno run server.ts",
        ),
        *("yarn start", "bun server.ts", "sh -c 'node server.js'", "env node server.js", "env", "", "npx", "pipx list"),
    ],
)
def test_other_commands_fetch_nothing(command: str):
    assert find_packages(shlex.split(command)) == ()


@pytest.mark.parametrize(
    ("command", "asked", "program", "arguments"),
    [
        ("npx -y @acme/served --port 1", {"@acme/served": "latest"}, "", ("--port", "1")),
        ("npx served@^1", {"served": "^1"}, "", ()),
        ("npx --yes -p served@1.2.3 --package=other run it", {"served": "1.2.3", "other": "latest"}, "run", ("it",)),
        ("/usr/bin/bunx served@1.2.3", {"served": "1.2.3"}, "", ()),
        ("uvx Served_One", {"served-one": "Served_One"}, "Served_One", ()),
        ("uvx served@latest -v", {"served": "served"}, "served", ("-v",)),
        ("uvx served@1.2", {"served": "served==1.2"}, "served", ()),
        ("uvx --from 'served[cli]>=1,<2' --with extra==2 run", {"served": "served[cli]>=1,<2", "extra": "extra==2"}, "run", ()),
        ("uv tool run served==1", {"served": "served==1"}, "served", ()),
    ],
)  # fmt: skip
def test_a_command_is_taken_apart_for_its_lock(
    command: str, asked: dict[str, str], program: str, arguments: tuple[str, ...]
):
    found = find_lockable(shlex.split(command))
    assert found is not None
    assert (found.requirements(), found.program, found.arguments) == (asked, program, arguments)


@pytest.mark.parametrize(
    "command",
    [
        "npx --registry https://r.example served", "npx -c 'served && other'", "npx -y ./served", "npx .", "npx -y",
        "npx github:acme/served", "npx alias@npm:served@1.0.0", "npx ${PACKAGE}", "npx acme/served", "npx served@file:../x",
        "uvx --index-url https://i.example served", "uvx git+https://git.example/served", "uvx ./served", "uvx --with-editable . x",
        "uvx 'served @ https://x.example/served.whl'", "uv run served", "sh -c 'npx served'", "env A=b npx served",
        "npm exec served", "docker run served", "python -m served",
    ],
)  # fmt: skip
def test_a_command_that_the_gateway_cannot_repeat_has_no_lock(command: str):
    assert find_lockable(shlex.split(command)) is None


NPM = PackageLock("npm", {"served": "1.0.0"}, {"packages": {"": {}, "node_modules/served": {"version": "1.0.0"}}})
PYPI = PackageLock("pypi", {"served-one": "1.0"}, ["served-one==1.0 --hash=sha256:aa", "needed==2.0 --hash=sha256:bb"])


@pytest.mark.parametrize(
    ("command", "lock", "told"),
    [
        ("npx served", NPM, "same"),
        ("npx served@1.0.0", NPM, "same"),
        ("npx served@^1", NPM, "same"),
        ("npx served@1.0.1", NPM, "other"),
        ("npx served-one", NPM, "other"),
        ("npx -p served -p other served", NPM, "other"),
        ("uvx served", NPM, "other"),
        ("uvx served.one", PYPI, "same"),
        ("uvx Served_One==1.0", PYPI, "same"),
        ("uvx served-one==2.0", PYPI, "other"),
        ("uvx --with needed served-one", PYPI, "other"),
        ("npx served-one", PYPI, "other"),
    ],
)
def test_a_command_runs_its_locked_packages_alone(command: str, lock: PackageLock, told: str):
    found = find_lockable(shlex.split(command))
    assert found is not None
    if told == "same":
        found.require_same(lock, "one")
        return
    with pytest.raises(ConfigurationError, match=r"upstreams\.one\.command asks for") as caught:
        found.require_same(lock, "one")
    assert "opagate catalogue pin one" in caught.value.remedy


def test_a_lock_lists_each_package_of_its_tree():
    assert NPM.list_versions() == {"served": "1.0.0"}
    assert PYPI.list_versions() == {"served-one": "1.0", "needed": "2.0"}
