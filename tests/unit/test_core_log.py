"""The log of steps: what a late fix may ask for is there, and what nobody asks for any more goes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hazfence.stays import STEP, Log, in_order

_KEPT_US = 500


class _Fleet:
    """Vehicles with a last fix each."""

    def __init__(self, vehicles: int) -> None:
        self.time_us = np.zeros(vehicles, np.int64)

    def limit_us(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        return self.time_us[codes] - _KEPT_US


def _fill(batches: int, vehicles: int, share: float) -> tuple[Log, list[tuple[int, int, int]], _Fleet]:
    """A log of random steps, one or two a fix, and all of them: (vehicle, fix_us, prev_us), in order."""
    rng, fleet = np.random.default_rng(batches), _Fleet(vehicles)
    log, steps = Log(fleet.limit_us), []
    last_us = np.full(vehicles, -1, np.int64)
    for step in range(batches):
        at_us = 10 * step
        codes = np.flatnonzero(rng.random(vehicles) < share).astype(np.int32)
        codes = np.sort(np.append(codes, codes[rng.random(len(codes)) < 0.3]))
        rows = np.zeros(len(codes), STEP)
        rows["fix_us"], rows["prev_us"], rows["since_us"] = at_us, at_us - 10, last_us[codes]
        rows["near_m"] = rng.random(len(codes))
        fleet.time_us[:] = at_us
        log.add(codes, rows)
        last_us[codes] = at_us
        steps += [(c, at_us, at_us - 10) for c in codes.tolist()]
    return log, sorted(steps), fleet


@pytest.mark.parametrize(
    ("batches", "vehicles", "share"), [(300, 40, 0.2), (40, 4000, 0.5), (25, 12_000, 1.0)]
)
def test_every_step_that_may_be_asked_for_is_there(batches: int, vehicles: int, share: float) -> None:
    log, steps, fleet = _fill(batches, vehicles, share)
    for code in range(0, vehicles, max(1, vehicles // 50)):
        limit_us = int(fleet.time_us[code]) - _KEPT_US
        expected = [fix_us for c, fix_us, _ in steps if c == code and fix_us > limit_us]
        found = log.of(code, limit_us, every=False)
        assert found["fix_us"].tolist() == expected
        assert (found["prev_us"] == found["fix_us"] - 10).all()


def test_what_nobody_asks_for_any_more_is_given_up() -> None:
    log, steps, _ = _fill(400, 2000, 0.5)
    kept = sum(fix_us >= 10 * 399 - _KEPT_US for _, fix_us, _ in steps)
    assert len(log) < 4 * kept + 3 * 16_384
    assert len(log) < len(steps) / 2


def test_first_fixes_are_not_old() -> None:
    """That there is no fix before a first one does not make it one to be forgotten."""
    fleet = _Fleet(30_000)
    log, codes = Log(fleet.limit_us), np.arange(30_000, dtype=np.int32)
    rows = np.zeros(30_000, STEP)
    rows["prev_us"] = np.iinfo(np.int64).min
    log.add(codes, rows)
    assert len(log) == 30_000
    assert len(log.of(7, -1)) == 1


def test_rows_are_put_in_order() -> None:
    rng = np.random.default_rng(3)
    parts = [np.zeros(n, STEP) for n in (5, 0, 9)]
    for rows in parts:
        rows["at_us"] = rng.integers(0, 100, len(rows))
    both = np.concatenate([rows["at_us"] for rows in parts])
    for order in (rng.permutation(14), np.array([13, 2, 6], np.int64), np.zeros(0, np.int64)):
        assert in_order(parts, order)["at_us"].tolist() == both[order].tolist()


@pytest.mark.parametrize(("batches", "vehicles", "share"), [(300, 40, 0.2), (60, 2000, 0.3)])
def test_from_which_fixes_steps_were_made(batches: int, vehicles: int, share: float) -> None:
    log, steps, _ = _fill(batches, vehicles, share)
    made = {(code, prev_us): fix_us for code, fix_us, prev_us in steps}
    rng = np.random.default_rng(1)
    for _ in range(50):  # asked in between, as chunks are merged
        codes = np.sort(rng.integers(0, vehicles, 60)).astype(np.int32)
        prev_us = 10 * rng.integers(batches - 48, batches - 1, 60)  # of what is kept for sure
        after_us = rng.choice(np.array([-100, 10 * (batches - 20)]), 60)
        found = log.steps_from(codes, prev_us, after_us)
        asked = zip(codes.tolist(), prev_us.tolist(), after_us.tolist(), strict=True)
        assert found.tolist() == [made.get((c, p), -100) > after for c, p, after in asked]
        more = np.unique(codes)
        rows = np.zeros(len(more), STEP)
        last_us = max(fix_us for _, fix_us, _ in steps)
        rows["fix_us"], rows["prev_us"] = last_us + 10, last_us
        log.add(more, rows)
        steps += [(c, last_us + 10, last_us) for c in more.tolist()]
        made |= {(c, last_us): last_us + 10 for c in more.tolist()}
    assert len(log.steps_from(codes[:0], prev_us[:0], after_us[:0])) == 0
