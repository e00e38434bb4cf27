"""The configuration of each worker of one parent (`opagate up --workers`), and the journals that a configuration names."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from gateway.config import keys
from gateway.config.history import PeerJournal
from gateway.record.journal import storage
from gateway.record.journal.several import NamedJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Configuration
    from gateway.config.history import StoreSettings
    from gateway.record.journal.chain import ChainKeys

_SHARED: Final[tuple[keys.Name, ...]] = ("sealing", "sessions", "fingerprints", "tokens")
_PREFIX: Final = "worker-"


def configure_worker(
    settings: Configuration, number: int, store: StoreSettings | None, count: int = 0
) -> Configuration:
    """Return the configuration of a worker: folders of its own, and the keys and the database of all.

    The first worker has the socket of operators. The journals of all `count` workers are peers.
    """
    shared = {name: getattr(settings.keys, name) or settings.state / keys.FILES[name] for name in _SHARED}
    name = f"{_PREFIX}{number}"
    others = {f"{_PREFIX}{other}" for other in range(1, count + 1)} - {name}
    peers = {
        other: PeerJournal(path=settings.journal.path / other, key=settings.state / other / keys.FILES["chain"])
        for other in sorted(others)
    }
    journal = {"path": settings.journal.path / name, "peers": {**settings.journal.peers, **peers}}
    return settings.with_changes(
        state=settings.state / name,
        journal=settings.journal.model_copy(update=journal),
        keys=settings.keys.model_copy(update=shared),
        socket=settings.control_socket if number == 1 else None,
        store=store,
    )


def has_workers(settings: Configuration) -> bool:
    """Return whether workers have served this configuration."""
    return any(settings.state.glob(f"{_PREFIX}*/"))


def list_gateways(settings: Configuration) -> list[Configuration]:
    """Return the configuration of each gateway with a journal of this configuration: of a gateway alone, and of workers.

    Without any journal, return the configuration itself. Raises `JournalError`.
    """
    numbers = sorted(
        int(number)
        for folder in settings.journal.path.glob(f"{_PREFIX}*")
        if (number := folder.name.removeprefix(_PREFIX)).isdecimal() and storage.has_begun(folder)
    )
    workers = [configure_worker(settings, number, settings.store) for number in numbers]
    return [*([settings] if not workers or storage.has_begun(settings.journal.path) else []), *workers]


def list_journals(settings: Configuration) -> list[NamedJournal]:
    """Return the journals of this configuration's gateways, and those of its peers. Raises `JournalError`."""
    own = [name_own(each, keys.read_chain(each)) for each in list_gateways(settings)]
    return [*own, *map(find_peer(settings), settings.journal.peers)]


def name_own(settings: Configuration, chain: ChainKeys) -> NamedJournal:
    """Return the journal of a gateway, with its name for people: of a worker its folder, else of this machine."""
    folder = settings.journal.path.name
    name = folder if folder.startswith(_PREFIX) else socket.gethostname()
    return NamedJournal(f"{name}-own" if name in settings.journal.peers else name, settings.journal.path, chain)


def find_peer(settings: Configuration) -> Callable[[str], NamedJournal]:
    """Return how to find the journal of a peer by its name. A search raises `JournalError`."""

    def find(name: str) -> NamedJournal:
        peer = settings.journal.peers[name]
        return NamedJournal(name, peer.path, None if peer.key is None else keys.read_peer_chain(peer.key))

    return find
