"""A database that is slow and then away: bounded memory, no rebalance, all stored once, all to be seen."""

from __future__ import annotations

from pathlib import Path

from .pressure import press

INBOX_BYTES = 1024 * 1024
BUFFERED = 20_000


def test_a_database_away_is_waited_for_with_bounded_memory(tmp_path: Path) -> None:
    found = press(
        20_000,
        3,
        8,
        tmp_path,
        inbox_bytes=INBOX_BYTES,
        max_buffered_fixes=BUFFERED,
        fetch_max_bytes=128 * 1024,
    )
    assert found.stored == found.sent, found
    assert found.assignments == 1, found  # nobody thought it dead
    # One more of a partition's fetches may come in before the reader notices that there is enough.
    assert INBOX_BYTES / 2 < found.most_inbox_bytes < INBOX_BYTES + 4 * 512 * 1024, found
    # Two checkpoints' worth a partition: one that is being stored, and one that fills up.
    assert found.most_buffered < 4 * 2 * (BUFFERED + 40_000), found
    assert found.most_mb < found.before_mb + 200, found
    assert found.retries > 0, found
    assert found.most_lag_messages > 10, found
