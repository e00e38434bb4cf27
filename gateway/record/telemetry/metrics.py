"""Prometheus metrics, all prefixed `opagate_`. Labels are names from configuration and reason codes, never a free
choice of a caller: a caller could then grow the memory of the gateway."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

# A second series beside each counter, with the time at which it began: nobody asks for it, and it doubles what is kept.
disable_created_metrics()
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Every counter of the gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, buckets=_SECONDS, registry=self.registry)
        self._calls = CallCounter("opagate_calls", "Decided calls.", ("upstream", "action", "effect", "code"))
        self._refusals = counter("opagate_refusals", "Requests refused before policy.", ("code",))
        self._settled = CallCounter("opagate_settled", "How forwarded calls ended.", ("upstream", "outcome"))
        self._seconds = CallHistogram(
            "opagate_call_seconds", "From the request's arrival to the end of its answer.", ("upstream",), _SECONDS
        )
        self._decision_seconds = CallHistogram("opagate_decision_seconds", "What the policy engine took.", (), _SECONDS)
        self._bytes = CallCounter("opagate_answer_bytes", "Bytes of answers.", ("upstream",))
        for each in (self._calls, self._settled, self._seconds, self._decision_seconds, self._bytes):
            self.registry.register(each)
        self.journal_failures = counter("opagate_journal_failures", "Entries that could not be written.")
        self.suppressed = counter(
            "opagate_suppressed", "Findings that a suppression took for no credential.", ("upstream",)
        )
        self._concealed = counter(
            "opagate_concealed", "Handles put in the place of credentials in answers.", ("upstream",)
        )
        self._reserved = counter(
            "opagate_reserved", "Names and error codes of the gateway taken out of answers of upstreams.", ("upstream",)
        )
        self._put_back = counter("opagate_put_back", "Handles in forwarded calls that were put back.", ("upstream",))
        self.policy_reloads = counter(
            "opagate_policy_reloads",
            "What became of the policy: loaded, kept out, stale, mended, or a defect.",
            ("result",),
        )
        self.policy_checks = counter(
            "opagate_policy_checks", "Decisions of a plan that were put to OPA as well.", ("result",)
        )
        self.policy_shadow = counter(
            "opagate_policy_shadow", "Calls that the shadow policy was to decide too.", ("result",)
        )
        self.policy_ready = Gauge(
            "opagate_policy_ready", "1 while the policy in force is the newest there is.", registry=self.registry
        )
        self.configuration_ready = Gauge(
            "opagate_configuration_ready",
            "1 while no changed configuration or labels file is kept out.",
            registry=self.registry,
        )
        self.open_calls = Gauge(
            "opagate_open_calls", "Allowed calls without a recorded outcome.", registry=self.registry
        )
        self.definitions = counter(
            "opagate_definition_changes", "Definitions and instructions that differ.", ("upstream", "kind")
        )
        self._lease_seconds = histogram(
            "opagate_lease_end_seconds", "From the end of a lease to its proof.", ("broker", "state")
        )
        self._signals = counter(
            "opagate_signals", "Events of identity providers that were taken.", ("stream", "action")
        )

    def count_refusal(self, code: str) -> None:
        """Count a refusal by its reason code."""
        self._refusals.labels(code).inc()

    def count_decision(self, upstream: str, action: str, effect: str, code: str, seconds: float) -> None:
        """Count a decided call, and the time of its decision."""
        counts, labels = self._calls.counts, (upstream, action, effect, code)
        counts[labels] = counts.get(labels, 0) + 1
        self._decision_seconds.observe((), seconds)

    def count_settlement(self, upstream: str, outcome: str, seconds: float, size: int) -> None:
        """Count the end of a forwarded call, its time, and the bytes of its answer."""
        counts, labels = self._settled.counts, (upstream, outcome)
        counts[labels] = counts.get(labels, 0) + 1
        sizes, labels = self._bytes.counts, (upstream,)
        sizes[labels] = sizes.get(labels, 0) + size
        self._seconds.observe(labels, seconds)

    def handles(self, upstream: str, *, concealed: int, put_back: int) -> None:
        """Count the handles made in an answer, and the handles put back into its call."""
        if concealed:
            self._concealed.labels(upstream).inc(concealed)
        if put_back:
            self._put_back.labels(upstream).inc(put_back)

    def count_reserved_names(self, upstream: str, count: int) -> None:
        """Count reserved names and codes in the words of an upstream."""
        self._reserved.labels(upstream).inc(count)

    def observe_in_flight(self, read: Callable[[], int]) -> None:
        """Report `read()` as the number of requests in progress."""
        self.registry.register(_Gauge("opagate_in_flight", "Requests being served now, without streams.", read))

    def observe_streams(self, read: Callable[[], int]) -> None:
        """Report `read()` as the number of open idle streams."""
        self.registry.register(_Gauge("opagate_streams", "Open streams that wait for news.", read))

    def observe_observing(self, names: Callable[[], Collection[str]], read: Callable[[], Collection[str]]) -> None:
        """Report for each of `names` whether policy is not enforced for it, which `read()` has."""
        self.registry.register(_Observing(names, read))

    def observe_certificates(self, read: Callable[[], Mapping[tuple[str, str], float]]) -> None:
        """Report `read()` as the seconds until certificates expire, by place in the configuration and file."""
        self.registry.register(_Certificates(read))

    def observe_servers(self, read: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        """Report `read()` as the present state of each stdio upstream's processes."""
        self.registry.register(_Servers(read))

    def lease_ended(self, broker: str, state: str, seconds: float) -> None:
        """Count the end of a lease. `state` tells whether the issuer proved the end."""
        self._lease_seconds.labels(broker, state).observe(seconds)

    def observe_leases(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Report `read()` as the number of open leases in each state."""
        self.registry.register(_LeaseCollector(read))

    def signal_taken(self, stream: str, action: str) -> None:
        """Count an event of an identity provider."""
        self._signals.labels(stream, action).inc()

    def observe_signals(self, read: Callable[[], SignalCounts]) -> None:
        """Report `read()` as the signals in force."""
        self.registry.register(_SignalCollector(read))

    def exposition(self) -> bytes:
        """Return the text format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)


class _LeaseCollector(Collector):
    """The number of open leases in each state."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily("opagate_leases", "Open leases by state.", labels=("state",))
        found = self._read()
        for state in ("requested", "active", "ending", "stuck"):
            family.add_metric((state,), found.get(state, 0))
        return [family]


class SignalCounts(NamedTuple):
    """The signals in force: ended logins, open facts, and whether each stream is silent."""

    ends: int
    facts: int
    silent: Mapping[str, bool]


class _SignalCollector(Collector):
    """The signals in force, and the silent streams."""

    def __init__(self, read: Callable[[], SignalCounts]) -> None:
        self._read = read

    def collect(self) -> list[GaugeMetricFamily]:
        found = self._read()
        force = GaugeMetricFamily("opagate_signals_in_force", "Signals in force by effect.", labels=("effect",))
        force.add_metric(("end",), found.ends)
        force.add_metric(("note",), found.facts)
        silent = GaugeMetricFamily("opagate_signals_silent", "1 while a stream is silent.", labels=("stream",))
        for stream, is_silent in found.silent.items():
            silent.add_metric((stream,), float(is_silent))
        return [force, silent]


# --- counters and histograms of each call ---------------------------------------------------------------
#
# An increment changes a dictionary. The library's own increment enters five functions under a lock. Only the event loop
# counts.


class CallCounter(Collector):
    """A counter for each combination of labels. `Metrics` increments `counts` in place."""

    def __init__(self, name: str, says: str, labels: Sequence[str]) -> None:
        self._name, self._says, self._labelnames = name, says, tuple(labels)
        self.counts: dict[tuple[str, ...], int] = {}

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter without its numbers, for its name."""
        yield CounterMetricFamily(self._name, self._says, labels=self._labelnames)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter as it is now."""
        (family,) = self.describe()
        for labels, count in self.counts.copy().items():
            family.add_metric(labels, count)
        yield family


class CallHistogram(Collector):
    """A histogram for each combination of labels. `bounds` ascend. Without labels it is there from the beginning."""

    def __init__(self, name: str, says: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._says, self._labelnames = name, says, tuple(labels)
        self._bounds = tuple(bounds)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._begin(())

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count a value in the first bucket whose bound is no less."""
        counts = self._counts.get(labels) or self._begin(labels)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram without its numbers, for its name."""
        yield HistogramMetricFamily(self._name, self._says, labels=self._labelnames)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram as it is now. Each bucket of the format counts the buckets below it too."""
        (family,) = self.describe()
        marks = [*map(repr, self._bounds), "+Inf"]
        for labels, counts in self._counts.copy().items():
            total = 0
            buckets: list[tuple[str, float]] = []
            for mark, count in zip(marks, counts, strict=True):
                total += count
                buckets.append((mark, total))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family

    def _begin(self, labels: tuple[str, ...]) -> list[int]:
        self._sums[labels] = 0.0
        self._counts[labels] = counts = [0] * (len(self._bounds) + 1)
        return counts


# --- what is read when somebody asks ----------------------------------------------------------------------


class _Gauge(Collector):
    """A gauge with its number read at each scrape."""

    def __init__(self, name: str, says: str, read: Callable[[], int]) -> None:
        self._name = name
        self._says = says
        self._read = read

    def collect(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(self._name, self._says, value=self._read())]


class _Observing(Collector):
    """The upstreams for which policy is not enforced, read at each scrape."""

    def __init__(self, names: Callable[[], Collection[str]], read: Callable[[], Collection[str]]) -> None:
        self._names = names
        self._read = read

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "opagate_observing", "1 while calls of an upstream pass that policy would refuse.", labels=("upstream",)
        )
        found = self._read()
        for upstream in self._names():
            family.add_metric((upstream,), float(upstream in found))
        return [family]


class _Certificates(Collector):
    """The seconds until the certificates of each TLS file expire, read at each scrape."""

    _labelnames = ("place", "file")

    def __init__(self, read: Callable[[], Mapping[tuple[str, str], float]]) -> None:
        self._read = read

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge with its name and without numbers."""
        yield GaugeMetricFamily(
            "opagate_tls_expires_seconds", "Until the certificates in a TLS file expire.", labels=self._labelnames
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge with its present numbers."""
        (family,) = self.describe()
        for labels, seconds in self._read().items():
            family.add_metric(labels, seconds)
        yield family


_SERVERS = {
    "processes": "Processes of a stdio server that run now.",
    "sessions": "Sessions that callers have with a stdio server now.",
    "in_flight": "Requests that a stdio server is answering now.",
    "failures": "Processes of a stdio server that failed in a row, for the caller for whom it is worst.",
    "retry_seconds": "How long no process of a stdio server is started, for the caller for whom it is worst.",
}


class _Servers(Collector):
    def __init__(self, read: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        self._read = read

    def collect(self) -> list[GaugeMetricFamily]:
        servers = self._read()
        families = {
            name: GaugeMetricFamily(f"opagate_stdio_{name}", says, labels=("upstream",))
            for name, says in _SERVERS.items()
        }
        for name, family in families.items():
            for upstream, values in servers.items():
                family.add_metric((upstream,), values[name])
        return list(families.values())
