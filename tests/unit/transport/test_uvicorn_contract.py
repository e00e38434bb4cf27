"""The inner names of uvicorn that the server builds on: a release that renames one fails here, and not in production."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import ServerState

from gateway.transport import protocol, server

BASES: dict[str, type] = {
    "Protocol": httptools_impl.HttpToolsProtocol,
    "_Flow": flow_control.FlowControl,
    "Server": uvicorn.Server,
}


def used(name: str) -> set[str]:
    """Return the attributes that one of the server's classes takes from its base: of `self` and of `super()`."""
    module = server if name == "Server" else protocol
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    node = next(item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == name)
    own = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    own |= set(getattr(getattr(module, name), "__slots__", ()))
    own |= {
        target.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Assign | ast.AnnAssign)
        for target in (item.targets if isinstance(item, ast.Assign) else [item.target])
        if isinstance(target, ast.Attribute) and target.attr.startswith("_")
    }
    found: set[str] = set()
    for item in ast.walk(node):
        if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name) and item.value.id == "self":
            found.add(item.attr)
        if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Call):
            called = item.value.func
            if isinstance(called, ast.Name) and called.id == "super":
                own.discard(item.attr)
                found.add(item.attr)
    return found - own


@pytest.mark.parametrize("name", sorted(BASES))
def test_each_name_that_a_class_takes_from_uvicorn_is_there(name: str):
    base = BASES[name]
    given = set(dir(base)) | set(getattr(base, "__annotations__", {}))
    source = inspect.getsource(base)
    given |= {
        line.split("self.", 1)[1].split(":")[0].split("=")[0].strip() for line in source.splitlines() if "self." in line
    }

    assert used(name)
    assert used(name) - given == set()


async def test_the_protocol_is_made_as_the_server_makes_it():
    made = httptools_impl.HttpToolsProtocol(
        config=uvicorn.Config(app=lambda: None, lifespan="off"), server_state=ServerState(), app_state={}
    )

    assert {"pipeline", "flow", "parser", "cycle", "transport", "client"} <= set(dir(made))
    assert made.pipeline is not None


def test_a_cycle_has_what_the_server_asks_of_it():
    parameters = inspect.signature(httptools_impl.RequestResponseCycle).parameters

    assert {"scope", "transport", "flow", "message_event", "keep_alive"} <= set(parameters)
    assert "self.response_started" in inspect.getsource(httptools_impl.RequestResponseCycle)
