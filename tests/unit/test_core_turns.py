"""Which fixes of a batch are late, and the order in which they are taken in: those of a plain walk."""

from __future__ import annotations

import numpy as np
import pytest

from hazfence.turns import Turns, in_turns

NEVER = np.iinfo(np.int64).min


def walk(codes: list[int], time_us: list[int], heard: dict[int, int]) -> dict[int, int]:
    """Of each late row, the latest moment its vehicle was seen before it arrived."""
    newest, late = dict(heard), {}
    for row, (code, at_us) in enumerate(zip(codes, time_us, strict=True)):
        if at_us <= newest[code]:
            late[row] = newest[code]
        newest[code] = max(newest[code], at_us)
    return late


def order_of(codes: list[int], late: set[int], lone: set[int]) -> list[tuple[int, int, int]]:
    """(turn, vehicle, row) of every row on time or lone: a vehicle's next turn begins after each lone one."""
    turn, found = dict.fromkeys(codes, 0), []
    for row, code in enumerate(codes):
        if row in lone:
            found.append((2 * turn[code] + 1, code, row))
            turn[code] += 1
        elif row not in late:
            found.append((2 * turn[code], code, row))
    return sorted(found)


@pytest.mark.parametrize("seed", range(300))
def test_turns_are_those_of_a_plain_walk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vehicles, n = int(rng.integers(1, 6)), int(rng.integers(1, 14))
    codes = rng.integers(0, vehicles, n).astype(np.int32)
    if seed % 3 == 0:
        codes.sort()
    time_us = rng.integers(0, 12, n)
    heard = {code: int(rng.choice([NEVER, 3, 6])) for code in range(vehicles)}
    heard_us = np.array([heard[code] for code in codes.tolist()], np.int64)
    turns = Turns.of(codes, time_us, heard_us)
    late = walk(codes.tolist(), time_us.tolist(), heard)
    by_vehicle = sorted(range(n), key=lambda row: (codes[row], row))
    assert turns.late.tolist() == [row for row in by_vehicle if row in late]
    assert turns.on_time.tolist() == [row for row in by_vehicle if row not in late]
    assert turns.newest_us.tolist() == [late[row] for row in turns.late.tolist()]
    assert turns.codes.tolist() == codes[turns.on_time].tolist()
    assert turns.late_codes.tolist() == codes[turns.late].tolist()
    # All late ones of some vehicles wait for their turn, the others are done with.
    slow = rng.random(vehicles) < 0.6
    in_turn = slow[turns.late_codes]
    wanted = order_of(codes.tolist(), set(late), set(turns.late[in_turn].tolist()))
    found = []
    for i, (here, lone) in enumerate(in_turns(turns, in_turn)):
        found += [(2 * i, int(codes[row]), row) for row in turns.on_time[here].tolist()]
        found += [(2 * i + 1, int(codes[row]), row) for row in turns.late[lone].tolist()]
        assert len(set(codes[turns.late[lone]].tolist())) == len(lone)
    assert found == wanted
