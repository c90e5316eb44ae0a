"""Going when it is time to go: a task that lost its cancellation is cancelled again."""

from __future__ import annotations

import asyncio
import time

import pytest

from hazfence.worker import waiting
from hazfence.worker.waiting import end, within


async def deaf(times: int) -> str:
    """Goes on after it was cancelled, so many times."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


def test_a_cancellation_that_was_swallowed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_AGAIN_S", 0.01)

    async def fails() -> None:
        raise ValueError("of no interest")

    async def go() -> None:
        tasks = [asyncio.create_task(deaf(n)) for n in (0, 1, 3)]
        failed = asyncio.create_task(fails())
        await asyncio.sleep(0)
        await end(*tasks, failed, None)
        assert all(task.cancelled() for task in tasks)

    asyncio.run(go())


def test_an_answer_in_time_and_one_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_AGAIN_S", 0.01)

    async def answer() -> int:
        await asyncio.sleep(0)
        return 7

    async def fails() -> None:
        raise ValueError("heard")

    async def breaks_off() -> None:
        raise asyncio.CancelledError

    async def go() -> None:
        assert await within(1.0, answer()) == 7
        with pytest.raises(ValueError, match="heard"):
            await within(1.0, fails())
        with pytest.raises(TimeoutError, match="broken off"):
            await within(1.0, breaks_off())
        start_s = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.02 s"):
            await within(0.02, deaf(2))
        assert time.monotonic() - start_s < 30
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())
