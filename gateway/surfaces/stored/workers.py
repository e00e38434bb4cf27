"""The configuration of each worker of one parent (`opagate up --workers`), and the journals of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.config import keys
from gateway.record.journal import storage

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.config.history import StoreSettings

_SHARED: Final[tuple[keys.Name, ...]] = ("sealing", "sessions", "fingerprints", "tokens")
_PREFIX: Final = "worker-"


def configure_worker(settings: Configuration, number: int, store: StoreSettings | None) -> Configuration:
    """Return the configuration of a worker: folders of its own, and the keys and the database of all.

    The first worker has the socket of operators.
    """
    shared = {name: getattr(settings.keys, name) or settings.state / keys.FILES[name] for name in _SHARED}
    name = f"{_PREFIX}{number}"
    return settings.with_changes(
        state=settings.state / name,
        journal=settings.journal.model_copy(update={"path": settings.journal.path / name}),
        keys=settings.keys.model_copy(update=shared),
        socket=settings.control_socket if number == 1 else None,
        store=store,
    )


def has_workers(settings: Configuration) -> bool:
    """Return whether workers have served this configuration."""
    return any(settings.state.glob(f"{_PREFIX}*/"))


def list_journals(settings: Configuration) -> list[Configuration]:
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
