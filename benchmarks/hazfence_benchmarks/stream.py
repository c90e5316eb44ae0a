"""How many fixes a second one worker does, end to end.

``hazfence bench stream`` measures a worker process
on the broker, PostGIS and Redis that the environment names, private ones otherwise (the embedded
broker is slower than Apache Kafka, and shares the cores with everything else). The feed is put on
the topic first, so that the worker is measured and not the sender; the clock runs from the first
fix processed until all are stored in a checkpoint.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from hazfence.fixes import FixBatch
from hazfence.services import free_port
from hazfence.wire import encode_fix
from hazfence.wire.packer import partition_of
from hazfence.wire.producer import FixProducer
from hazfence.worker.broker import wait_for_broker
from hazfence.worker.config import WorkerSettings
from hazfence_benchmarks.form import OURS, Figure
from hazfence_benchmarks.plan import BadOption, Plan
from hazfence_benchmarks.stage import shared
from hazfence_benchmarks.workloads import ZHENHAI

__all__ = ["WorkerProcess", "options", "run", "until"]

_START_US = 1_772_409_600_000_000  # 2026-03-02T00:00Z
_VEHICLES = 6000
_PARTITIONS = 4


def _fixes(count: int) -> FixBatch:
    """Trucks on straight ways around and through the district, a fix each 15 s, in the order of time."""
    step, vehicle = np.divmod(np.arange(count), _VEHICLES)
    rng = np.random.default_rng(4)
    lon0, lat0 = rng.uniform(121.3, 121.9, _VEHICLES), rng.uniform(29.7, 30.2, _VEHICLES)
    east, north = rng.uniform(-0.002, 0.002, (2, _VEHICLES))
    return FixBatch.of(
        vehicle.astype(np.int32),
        vehicles=[f"浙B{i:05d}" for i in range(_VEHICLES)],
        time_us=_START_US + step * 15_000_000 + vehicle * 2_000,
        lon=lon0[vehicle] + east[vehicle] * step,
        lat=lat0[vehicle] + north[vehicle] * step,
        speed_kmh=rng.uniform(20, 70, count),
        status=3,
    )


class WorkerProcess:
    """A worker of our own; its metrics and its processor time."""

    def __init__(self, how: WorkerSettings) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HAZFENCE_")} | how.to_env()
        self.port = how.web_port
        self.process = subprocess.Popen([sys.executable, "-m", "hazfence.worker"], env=env)

    def metrics(self) -> dict[str, float]:
        """By name and labels; empty before it serves them."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        except OSError:
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until(worker: WorkerProcess, done: Any, every_s: float = 0.05) -> dict[str, float]:
    """Wait for metrics that are as they should be.

    Args:
        worker: asked for its metrics, which costs it some milliseconds each time.
        done: whether metrics are as they should be.
        every_s: how often to ask.

    Raises:
        RuntimeError: the worker died.
    """
    while not done(metrics := await asyncio.to_thread(worker.metrics)):
        if worker.process.poll() is not None:
            raise RuntimeError(f"the worker ended with {worker.process.returncode}; its log is above")
        await asyncio.sleep(every_s)
    return metrics


async def _throughput(base: dict[str, Any], name: str, count: int, size: int, **how: Any) -> dict[str, Any]:
    """Fixes a second of one worker over a feed that is all there; ``size`` 1 means one JSON fix a message."""
    topic = f"hazfence.bench.{secrets.token_hex(4)}"
    more = {"topic": topic, "dead_topic": "", "group": topic, "board_prefix": topic + ":", **how}
    settings = WorkerSettings.for_embedded_broker(**base, **more, web_port=free_port())
    await wait_for_broker(settings)
    fixes = _fixes(count)
    if size == 1:
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=50, max_batch_size=256 * 1024)
        await producer.start()
        for i, vehicle in enumerate(fixes.names()):
            value = encode_fix(
                vehicle,
                int(fixes.time_us[i]),
                float(fixes.lon[i]),
                float(fixes.lat[i]),
                speed_kmh=50.0,
                status=3,
            )
            await producer.send(topic, value, partition=partition_of(vehicle, _PARTITIONS))
        await producer.stop()
    else:
        async with FixProducer(settings.kafka, topic, max_fixes=size) as sender:
            for start in range(0, count, 100_000):
                await sender.send_batch(fixes.take(slice(start, start + 100_000)))
    worker = WorkerProcess(settings)
    try:
        # What was done before the first look is not counted, nor is the time for it.
        done = (await until(worker, lambda m: m.get("hazfence_fixes_total", 0) > 0))["hazfence_fixes_total"]
        start_s, before_s = time.monotonic(), worker.cpu_s()
        metrics = await until(
            worker,
            lambda m: (
                m["hazfence_fixes_total"] >= count
                and sum(v for k, v in m.items() if k.startswith("hazfence_buffered_fixes")) == 0
            ),
            every_s=0.2,
        )
        wall_s, cpu_s = time.monotonic() - start_s, worker.cpu_s() - before_s
    finally:
        # All is measured and stored; a polite end can take Faust half a minute.
        worker.process.kill()
        worker.process.wait()
    left = max(count - done, 1)
    steps = {s: metrics[f'hazfence_step_seconds_sum{{step="{s}"}}'] for s in ("decode", "match")}
    return {
        "what": name,
        "fixes": count,
        "fixes_a_message": size,
        "fixes_a_second": round(left / wall_s),
        "seconds": round(wall_s, 1),
        "worker_cpu_us": cpu_s / left * 1e6,
        "few": left < count / 2,
        "feeds": int(metrics['hazfence_step_seconds_count{step="decode"}']),
        "writes": int(metrics.get('hazfence_step_seconds_count{step="write"}', 0)),
        "write_s": round(metrics.get('hazfence_step_seconds_sum{step="write"}', 0), 1),
        "decode_s": round(steps["decode"], 2),
        "match_s": round(steps["match"], 2),
        "checkpoints": int(metrics["hazfence_checkpoints_total"]),
        "checkpoint_s": round(metrics["hazfence_checkpoint_seconds_sum"], 1),
        "events": int(sum(v for k, v in metrics.items() if k.startswith("hazfence_events_total"))),
    }


async def _bare(base: dict[str, Any], count: int, size: int) -> dict[str, Any]:
    """What the broker and aiokafka alone give on the same messages: the ceiling."""
    topic = f"hazfence.bench.{secrets.token_hex(4)}"
    settings = WorkerSettings.load(**base, topic=topic, dead_topic="")
    await wait_for_broker(settings)
    async with FixProducer(settings.kafka, topic, max_fixes=size) as sender:
        await sender.send_batch(_fixes(count))
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    start_s, messages, payload = time.monotonic(), 0, 0
    while payload < count * 28:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            messages += len(records)
            payload += sum(len(r.value) - 24 for r in records)
    wall_s = time.monotonic() - start_s
    await consumer.stop()
    return {
        "what": "aiokafka alone", "fixes": count, "fixes_a_message": size,
        "fixes_a_second": round(count / wall_s), "seconds": round(wall_s, 2),
    }  # fmt: skip


_RUNS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("no history", 250, {"keep_fixes": False}),
    ("no history", 2000, {"keep_fixes": False}),
    ("fixes stored", 250, {}),
    ("fixes stored", 2000, {}),
    ("fixes stored", 1, {}),
)


def options(parser: argparse.ArgumentParser) -> None:
    """Fixes, fences, which runs."""
    parser.add_argument("--fixes", type=int, help="in the feed; a tenth where each is a message")
    parser.add_argument("--fences", default=str(ZHENHAI), help="GeoJSON file or folder")
    parser.add_argument("--only", default="", help="measure only what has this in its name")


def run(
    plan: Plan, *, fixes: int | None = None, fences: str = str(ZHENHAI), only: str = ""
) -> Iterator[Figure]:
    """Fixes a second of one worker, and its processor time a fix, for messages of several sizes.

    Args:
        plan: its size says how many fixes, where it is not given.
        fixes: in the feed; a tenth of it where each fix is a message.
        fences: GeoJSON file or folder.
        only: measure only what has this in its name.

    Raises:
        BadOption: fewer than 1000 fixes.
        ServiceError: a service cannot be started.
    """
    fixes = plan.pick(10_000, 300_000, 2_000_000) if fixes is None else fixes
    if fixes < 1000:
        raise BadOption("--fixes must be at least 1000")
    runs = [run for run in _RUNS if only in f"{run[0]} {run[1]}"]
    if not only:
        few: list[tuple[str, int]] = plan.pick(
            [("fixes stored", 250)],
            [("no history", 250), ("fixes stored", 250), ("fixes stored", 1)],
            [run[:2] for run in runs],
        )
        runs = [run for run in runs if run[:2] in few]
    with shared() as stage, stage.database() as url:
        streaming = stage.streaming()
        base = {
            "database_url": url, "kafka": streaming.kafka, "redis_url": streaming.redis_url,
            "fences": fences, "clock": "event", "topic_partitions": _PARTITIONS,
            "log_level": "warning",
        }  # fmt: skip
        bare = asyncio.run(_bare(base, fixes, 250))
        yield _figure(bare, "end to end, no history", 250, "aiokafka alone (limit)", streaming.broker)
        for name, size, how in runs:
            count = fixes if size > 1 else max(1000, fixes // 10)
            row = asyncio.run(_throughput(base, name, count, size, **how))
            yield _figure(row, f"end to end, {name}", size, OURS, streaming.broker)
            about: dict[str, Any] = {"suite": "stream", "workload": _workload(size), "way": OURS, "n": count}
            if "stored" in name and size > 1:
                yield Figure(**about, what="events a fix", unit="", values=(row["events"] / count,))
            yield Figure(**about, what=f"worker's processor time a fix, {name}", unit="us", better="less",
                         values=(row["worker_cpu_us"],), clock="cpu")  # fmt: skip


def _workload(size: int) -> str:
    return "one JSON fix a message" if size == 1 else f"{size} fixes a message"


def _figure(row: dict[str, Any], what: str, size: int, way: str, broker: str) -> Figure:
    note = f"stream: broker {broker}, on the same cores"
    if row.get("few"):
        note += "; too few fixes: most were done before the first look, give more with --fixes"
    return Figure("stream", _workload(size), what, way, "fixes/s", (float(row["fixes_a_second"]),),
                  row["fixes"], clock="wall", note=note)  # fmt: skip
