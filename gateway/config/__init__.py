"""Configuration: `gateway.yaml`, read and validated. No other package reads configuration files or the environment.
`settings`, `labels` and `identities` are the models, `values` and `formats` the types of their fields. `loading` reads a
file, and `problems` puts its faults into words."""

from gateway.config.credentials import HeaderCredential
from gateway.config.history import TaskLimit, TaskLimits
from gateway.config.labels import ArgumentTests, MilderLabels, ToolLabels
from gateway.config.loading import InvalidSettings, load, parse
from gateway.config.policy import EmbeddedEngine, OpaEngine, PolicySettings
from gateway.config.settings import (
    Configuration,
    HistorySettings,
    InspectionSettings,
    JournalSettings,
    Limits,
    TlsSettings,
    ToolSearchSettings,
)
from gateway.config.upstreams import CatalogueSettings, Upstream

__all__ = [
    "ArgumentTests",
    "CatalogueSettings",
    "Configuration",
    "EmbeddedEngine",
    "HeaderCredential",
    "HistorySettings",
    "InspectionSettings",
    "InvalidSettings",
    "JournalSettings",
    "Limits",
    "MilderLabels",
    "OpaEngine",
    "PolicySettings",
    "TaskLimit",
    "TaskLimits",
    "TlsSettings",
    "ToolLabels",
    "ToolSearchSettings",
    "Upstream",
    "load",
    "parse",
]
