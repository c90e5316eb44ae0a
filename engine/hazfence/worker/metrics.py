"""What the worker counts, for Prometheus.

You are beside the worker's way; every other room of ``hazfence.worker`` is handed a
:class:`WorkerMetrics` and none has a global. The counters start at zero with the process, and a
message that is read again after a restart is counted again: what is exact is in the store.
The sum always holds, and ``hazfence_unaccounted`` says so: taken in = accepted + set aside + unreadable.
"""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["WorkerMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PLACE = ("topic", "partition")


class WorkerMetrics:
    """The worker's counters and gauges in a registry of their own.

    Args:
        registry: where to register; a new one when None.

    Attributes:
        registry: holds all of the following; their help texts say what they count.

    Example:
        >>> metrics = WorkerMetrics()
        >>> metrics.fixes.inc(3)
        >>> b"hazfence_fixes_total 3.0" in metrics.render()
        True
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"hazfence_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"hazfence_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(f"hazfence_{name}", text, labels, registry=self.registry, buckets=_SECONDS)

        self.messages = counter("messages", "messages taken in, unreadable ones included")
        self.messages_skipped = counter("messages_skipped", "messages that the checkpoint already stands for")
        self.messages_missing = counter(
            "messages_missing", "offsets that the log no longer had when asked again"
        )
        self.recalled = counter("vehicles_recalled", "histories read again for fixes that came hours late")
        self.seeks = counter("seeks", "times the log was read again from the checkpoint")
        self.taken_in = counter(
            "taken_in", "fixes, plate reads and unreadable messages, counted before anything judges them"
        )
        self.unreadable = counter(
            "messages_unreadable", "messages that could not be read, each a dead letter"
        )
        self.fixes = counter("fixes", "fixes read from messages")
        self.accepted = counter("fixes_accepted", "fixes that were used")
        self.set_aside = counter("fixes_set_aside", "fixes that were not used, by reason", ("reason",))
        self.dead = counter("dead_letters", "messages and fixes kept as dead letters, by reason", ("reason",))
        self.events = counter("events", "event revisions found", ("kind", "phase"))
        self.step_seconds = histogram("step_seconds", "time of one step over one batch", ("step",))
        self.checkpoints = counter("checkpoints", "checkpoints stored")
        self.checkpoint_seconds = histogram("checkpoint_seconds", "time to store a checkpoint")
        self.store_retries = counter("store_retries", "calls repeated because the store was away")
        self.board_failures = counter("board_failures", "board updates put off because the board was away")
        self.board_rebuilds = counter("board_rebuilds", "times a partition's part of the board was laid anew")
        self.published = counter("events_published", "event revisions put on the board's stream")
        self.dead_topic_failures = counter(
            "dead_topic_failures", "dead letters that did not reach their topic (the table has them)"
        )
        self.stale_claims = counter("stale_claims", "partitions dropped because another worker claimed them")
        self.held = counter("events_held", "revisions that the desk did not tell, by reason", ("why", "kind"))
        self.plate_reads = counter("plate_reads", "plate reads taken in")
        self.reference_loads = counter("reference_loads", "times the file of vehicles and waybills was read")
        self.reference_faults = gauge("reference_faults", "rows on file that cannot be used and are left out")
        self.joint_until = gauge(
            "joint_until_seconds", "moment up to which it is known what is missing, seconds since 1970"
        )
        self.partitions = gauge("partitions", "partitions loaded by this worker")
        self.store_up = gauge("store_up", "1 while the store answers, 0 while it is waited for")
        self.board_up = gauge("board_up", "1 while the board answers, 0 while it is done without")
        self.lag = gauge("lag_messages", "messages on the partition that are not processed yet", _PLACE)
        self.watermark_age = gauge(
            "watermark_age_seconds", "age of the newest fix accepted on the partition", _PLACE
        )
        unaccounted = gauge("unaccounted", "taken in, less accepted, set aside and unreadable: 0, or a fault")
        unaccounted.set_function(self.unaccounted)
        self.inbox = gauge("inbox_bytes", "messages taken from the broker that wait to be processed")
        self.buffered = gauge("buffered_fixes", "fixes accepted since the last checkpoint", _PLACE)

    def forget(self, topic: str, partition: int) -> None:
        """Take the gauges of a partition off, when it is no longer owned."""
        for metric in (self.lag, self.watermark_age, self.buffered):
            with contextlib.suppress(KeyError):
                metric.remove(topic, str(partition))

    def unaccounted(self) -> float:
        """What was taken in and is neither accepted nor set aside nor unreadable: 0, or there is a fault."""

        def total(metric: Counter) -> float:
            return sum(
                sample.value
                for family in metric.collect()
                for sample in family.samples
                if sample.name.endswith("_total")
            )

        accounted = total(self.accepted) + total(self.set_aside) + total(self.unreadable)
        accounted += total(self.plate_reads)
        return total(self.taken_in) - accounted

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
