"""`opagate credentials keys`: the gateway's own keys, listed and replaced."""

from __future__ import annotations

import os
import time
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gateway.surfaces.cli.control_client import GatewayOption, ask_gateway
from gateway.surfaces.cli.loop import run
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration
from gateway.surfaces.cli.terminal import describe_count, emit, note, out, plain, show, table, write_time

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from gateway.config import Configuration
    from gateway.config.keys import Name
    from gateway.surfaces.app.keys import KeyChange, RotatedName

app = typer.Typer(help="The gateway's own keys: look at them, and replace them.", no_args_is_help=True)


class KeyName(StrEnum):
    """Keys that can be replaced."""

    CHAIN = "chain"
    SEALING = "sealing"
    SESSIONS = "sessions"
    TOKENS = "tokens"


class ListedKey(NamedTuple):
    """A key in its file. `since` is the time of the file, and `used` is what needs the key."""

    key: str
    id: str
    file: str
    is_newest: bool
    since: float
    used: str


@app.command("list", epilog="Example: opagate credentials keys list")
def list_keys(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the keys with their files. Earlier keys read, and write nothing.

    An earlier file that nothing needs any more can be deleted. Then run `opagate credentials keys reload`.
    """
    found = run(find_keys(configuration(config)))
    if as_json:
        emit([each._asdict() for each in found])
        return
    if not found:
        note("no keys yet: a gateway makes its keys at its first start")
        return
    listed = table("key", "id", "use", "since", "needed by", "file")
    for each in found:
        use = "writes" if each.is_newest else "reads"
        listed.add_row(each.key, each.id[:16], use, write_time(each.since), each.used, plain(each.file))
    show(listed)


@app.command("rotate", epilog="Example: opagate credentials keys rotate sealing")
def rotate(
    key: Annotated[KeyName, typer.Argument(metavar="KEY", help="`chain`, `sealing`, `sessions` or `tokens`.")],
    at: GatewayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a key by a new one. The earlier key stays beside the new key, and still reads. No call is refused.

    A running gateway makes the new key, and uses it at once. A new key of tokens is published for ten minutes before it signs.

    The key of fingerprints cannot be replaced: tasks would forget what they know.
    """
    # Another gateway is asked without a configuration here.
    if at is not None or _is_running(configuration(config)):
        found: dict[str, Any] = ask_gateway(at, config, "keys/rotate", key=key.value)
    else:
        found = _rotate_here(configuration(config), key.value)
    if as_json:
        emit(found)
        return
    note(f"{key.value}: the new key is {found['ids'][key.value][:16]}")
    out.print(f"The earlier key stays in {plain(found['kept'])}", soft_wrap=True)
    if found["resealed"]:
        note(f"{describe_count(found['resealed'], 'record')} sealed anew")


@app.command("reload", epilog="Example: opagate credentials keys reload")
def reload(at: GatewayOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have the running gateway take over its keys from their files, where something else writes these files."""
    found: dict[str, Any] = ask_gateway(at, config, "keys/reload")
    if as_json:
        emit(found)
        return
    for name, identifier in found["ids"].items():
        note(f"{name}: {identifier[:16]}")


async def find_keys(settings: Configuration) -> list[ListedKey]:
    """Return the present keys with their files, each purpose's newest first. Raises `GatewayError`."""
    from gateway.config import keys
    from gateway.surfaces.stored.opening import look_at_records

    with closing(look_at_records(settings)) as engine:
        records = await engine.survey()
    return [listed for name in keys.FILES for listed in _find_key(settings, name, records)]


def _find_key(settings: Configuration, name: Name, records: Mapping[tuple[str, str], int]) -> Generator[ListedKey]:
    from gateway.base.keys import signing_keys
    from gateway.base.keys.key_ring import key_id, subkey
    from gateway.config import keys

    file = keys.find_file(settings, name)
    uses = _find_uses(settings, name, records)
    for number, each in enumerate((file, *file.find_earlier())):
        content = each.load_key()
        if content is None:
            continue
        if name == "tokens":
            identifier = signing_keys.read_pem(content, each.path, each.what, "put it back").thumbprint()
            used_by = identifier
        else:
            whole = keys.whole_key(each, content)
            identifier = key_id(whole)
            used_by = key_id(subkey(whole, "records")) if name == "sealing" else identifier
        used = uses.get(used_by, uses.get("", "nothing" if number else "new records"))
        yield ListedKey(name, identifier, str(each.path), number == 0, each.read_since(), used)


def _find_uses(settings: Configuration, name: Name, records: Mapping[tuple[str, str], int]) -> dict[str, str]:
    """Return the uses of each key by its id. An empty id stands for all keys. `records` are numbers by kind and sealing key."""
    from collections import Counter

    match name:
        case "chain":
            found = Counter(_chain_ids(settings))
            return {identifier: describe_count(count, "journal segment") for identifier, count in found.items()}
        case "sealing":
            seals = Counter[str]()
            for (_, seal), count in records.items():
                seals[seal] += count
            return {identifier: describe_count(count, "record") for identifier, count in seals.items()}
        case "sessions":
            return {"": "open sessions"}
        case "tokens":
            return {"": "open tasks, a day at most"}
        case _:
            return {"": "tasks and journal"}


def _chain_ids(settings: Configuration) -> Generator[str]:
    """Yield, for each segment of the journal, the id of the key that chains it."""
    from gateway.base.keys.key_ring import key_id
    from gateway.config import keys
    from gateway.record.journal import reader, storage
    from gateway.record.journal.chain import Chain

    chains = {Chain.of(key).key_id: key_id(key) for key in keys.read_chain(settings) or ()}
    if storage.has_begun(settings.journal.path):
        for _, path in storage.segments(settings.journal.path):
            yield chains.get(str(reader.first_of(path).get("key")), "")


def _is_running(settings: Configuration) -> bool:
    """Return whether a running gateway uses the state folder."""
    from gateway.record.journal import storage

    try:
        os.close(storage.lock(settings.state, "gateway.lock", "uses the state folder"))
    except storage.InUse:
        return True
    return False


def _rotate_here(settings: Configuration, name: RotatedName) -> dict[str, Any]:
    import msgspec

    from gateway.surfaces.stored.holding import hold_state

    with hold_state(settings.state):
        changed: KeyChange = run(_rotate(settings, name))
    return msgspec.to_builtins(changed)


async def _rotate(settings: Configuration, name: RotatedName) -> KeyChange:
    """Replace a key of a gateway that does not run. The journal notes it as a running gateway would."""
    from gateway.base.keys.key_ring import derive_ring
    from gateway.base.store.records import SealedStore
    from gateway.config import keys
    from gateway.record.journal.storage import has_begun
    from gateway.record.journal.writer import Journal
    from gateway.surfaces.app.keys import KeyedParts, KeyRotation
    from gateway.surfaces.stored.opening import hold_records

    found = keys.load(settings, begun=has_begun(settings.journal.path))
    journal = Journal.open(settings.journal, key=found.chain, fingerprints=found.fingerprints, clock=time.time)
    try:
        async with hold_records(settings, found) as held:
            store = SealedStore(held.engine, derive_ring(found.sealing, "records"))
            by = {"id": f"account {os.geteuid()}", "issuer": "local", "channel": "command"}
            return await KeyRotation(KeyedParts(settings, found, journal, store)).rotate(name, by)
    finally:
        await journal.close()
