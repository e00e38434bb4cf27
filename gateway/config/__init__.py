"""Configuration: `gateway.yaml`, read and validated. No other package reads configuration files or the environment.
`settings` and `identities` are the models, `values` and `formats` the types of their fields. `loading` reads a file,
and `problems` puts its faults into words."""

from gateway.config.loading import InvalidSettings, load, parse
from gateway.config.settings import (
    CatalogueSettings,
    Configuration,
    EmbeddedEngine,
    HeaderCredential,
    HistorySettings,
    InspectionSettings,
    JournalSettings,
    Limits,
    OpaEngine,
    PolicySettings,
    TlsSettings,
    ToolLabels,
    Upstream,
)

__all__ = [
    "CatalogueSettings",
    "Configuration",
    "EmbeddedEngine",
    "HeaderCredential",
    "HistorySettings",
    "InspectionSettings",
    "InvalidSettings",
    "JournalSettings",
    "Limits",
    "OpaEngine",
    "PolicySettings",
    "TlsSettings",
    "ToolLabels",
    "Upstream",
    "load",
    "parse",
]
