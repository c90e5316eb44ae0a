"""The in-memory twin of the reference port."""

from __future__ import annotations

import asyncio

import pytest

from hazfence import Filed, ReferenceData
from hazfence.memory import MemoryReference
from hazfence.ports import StoreAway


def test_the_twin_counts_changes_and_wakes_who_waits() -> None:
    async def test() -> None:
        twin = MemoryReference()
        await twin.open()
        seq, data, _ = await twin.load()
        assert data.filed == ()
        assert not await twin.changed(seq, 0.01)
        waiting = asyncio.create_task(twin.changed(seq, 10))
        await asyncio.sleep(0.01)
        twin.put(ReferenceData([Filed("vehicle", "浙B12345", "approved", 0)]))
        assert await waiting
        again, data, _ = await twin.load()
        assert again > seq
        assert data.audit("浙B12345", 1) == "approved"
        assert not await twin.changed(again, 0.01)
        twin.away = True
        with pytest.raises(StoreAway):
            await twin.load()

    asyncio.run(test())
