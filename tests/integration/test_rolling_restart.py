"""A rolling restart in the middle of a feed: the rows of an undisturbed run, and somebody always at work."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from hazfence.worker.broker import wait_for_broker
from hazfence.worker.supervisor import Supervisor

from ..accounting import account, assert_accounted
from .test_worker_faust import feed, offsets
from .worker_process import check_rows, read_whole_log, settings


def test_workers_are_renewed_while_fixes_come_in(
    postgres_url: str, broker: str, topic: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    how = settings(postgres_url, broker, topic, checkpoint_every_s=0.3, topic_partitions=4)

    async def go() -> None:
        supervisor = Supervisor(how, workers=2)
        running = asyncio.create_task(supervisor.run())
        longest_s, moved_s, stored = 0.0, time.monotonic(), 0
        try:
            await wait_for_broker(how)
            first, restarted = 0, False
            give_up_s = time.monotonic() + 150
            while first < 150 or supervisor.starts < 4 or not restarted or supervisor.restarting:
                assert time.monotonic() < give_up_s, f"{supervisor.starts} starts, {first} steps sent"
                await feed(broker, topic, first, 5)
                first += 5
                await asyncio.sleep(0.1)
                now = sum(offsets(postgres_url, topic).values())
                if now > stored:
                    if stored:
                        longest_s = max(longest_s, time.monotonic() - moved_s)
                    moved_s, stored = time.monotonic(), now
                if stored and len(supervisor.pids) == 2 and not restarted and first > 50:
                    restarted = True
                    supervisor.restart()
            log = await read_whole_log(broker, topic)
            ends = {p: len(m) for p, m in log.items() if m}
            while offsets(postgres_url, topic) != ends:
                assert time.monotonic() < give_up_s, (offsets(postgres_url, topic), ends)
                await asyncio.sleep(0.1)
            await check_rows(how, log)
            assert_accounted(await account(postgres_url, topic, log))
        finally:
            supervisor.stop()
            assert await running == 0
        assert supervisor.starts == 4
        assert longest_s < 30, "somebody is always at work"
        sys.stdout.write(f"longest pause between two checkpoints: {longest_s:.1f} s\n")

    asyncio.run(go())
    said = "".join(capfd.readouterr())
    assert "rolling restart: done" in said
    assert "killing it" not in said
    assert "not ready, going on" not in said
