"""Every fix of a log is accounted for: in the fix table, among the dead letters, or told as a repetition.

`account` compares the log with the database item by item, not only in sums: what was lost and what is there
twice could otherwise hide each other. Use it when the workers have stopped, after anything that was done to
them: ``assert_accounted(await account(url, topic, log))``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from hazfence.wire import Message, decode

FIXES = """
SELECT s.partition, f."offset", f.item FROM hazfence.fix AS f JOIN hazfence.stream AS s USING (stream)
WHERE s.topic = %s
"""
LETTERS = 'SELECT partition, "offset", item, reason FROM hazfence.dead_letter WHERE topic = %s'
CHECKPOINTS = "SELECT partition, next_offset FROM hazfence.checkpoint WHERE topic = %s"

Item = tuple[int, int, int]


@dataclass
class Account:
    """What became of the items of a log; an item is a fix, or a message that cannot be read.

    Attributes:
        taken_in: items on the log before the checkpoints.
        accepted: rows of the fix table.
        set_aside: fixes among the dead letters.
        dead: messages among the dead letters.
        repeated: fixes told again, which keep no row and no letter.
        reasons: dead letters by reason.
        wrong: what does not add up, one line an item.
    """

    taken_in: int = 0
    accepted: int = 0
    set_aside: int = 0
    dead: int = 0
    repeated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"in {self.taken_in} = accepted {self.accepted} + set aside {self.set_aside} + repeated "
            f"{self.repeated} + dead {self.dead}"
        )


async def account(url: str, topic: str, log: Mapping[int, Sequence[Message]], **limits: int) -> Account:
    """Compare a log with what is in the database.

    Args:
        url: of the database; the workers kept fixes.
        topic: which.
        log: its messages by partition, from their beginning; those at and after a partition's checkpoint
            are left out.
        **limits: of ``hazfence.wire.decode``, as the workers had them.
    """
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await (await connection.execute(FIXES, (topic,))).fetchall()
        letters = await (await connection.execute(LETTERS, (topic,))).fetchall()
        stored = dict(await (await connection.execute(CHECKPOINTS, (topic,))).fetchall())
    found = Account(accepted=len(rows))
    accepted = Counter((p, o, i) for p, o, i in rows)
    dead = {(p, o, i): reason for p, o, i, reason in letters}
    found.reasons.update(dead.values())
    found.wrong += [f"{item}: {count} rows" for item, count in accepted.items() if count > 1]
    found.wrong += [f"{item}: a row and a letter ({dead[item]})" for item in accepted if item in dead]
    known: set[Item] = set()
    for partition, messages in log.items():
        end = stored.get(partition) or 0
        batch, rejects = decode([m for m in messages if m.offset < end], **limits)
        places = [(partition, o, i) for o, i in zip(batch.offset.tolist(), batch.item.tolist(), strict=True)]
        said = zip(batch.names(), batch.time_us.tolist(), batch.lon.tolist(), batch.lat.tolist(), strict=True)
        fixes = dict(zip(places, said, strict=True))
        told = {fix for place, fix in fixes.items() if place in accepted}
        known.update(places)
        for place, fix in fixes.items():
            if place in accepted:
                continue
            if place in dead:
                found.set_aside += 1
            elif fix in told:
                found.repeated += 1
            else:
                found.wrong.append(f"{place}: lost, {fix[0]} at {fix[1]} us")
        for reject in rejects:
            place = (partition, reject.offset, -1)
            known.add(place)
            if dead.get(place) == reject.reason:
                found.dead += 1
            else:
                found.wrong.append(f"{place}: unreadable ({reject.reason}), but kept as {dead.get(place)}")
    found.taken_in = len(known)
    found.wrong += [
        f"{item}: a row, but not on the log before the checkpoint" for item in accepted if item not in known
    ]
    early = {partition: end or 0 for partition, end in stored.items()}
    found.wrong += [
        f"{item}: a letter ({why}), but not on the log"
        for item, why in dead.items()
        if item not in known and item[1] < early.get(item[0], 0)
    ]
    return found


def assert_accounted(found: Account) -> None:
    """Fail when an item is lost, doubled, or came from nowhere; the first ten are named."""
    assert not found.wrong, f"{len(found.wrong)} items do not add up ({found}): {'; '.join(found.wrong[:10])}"
    assert found.taken_in == found.accepted + found.set_aside + found.repeated + found.dead, str(found)
