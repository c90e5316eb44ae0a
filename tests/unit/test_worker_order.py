"""The order of the log: known messages are skipped, holes are asked for once and then believed."""

from __future__ import annotations

from hazfence.wire import Message
from hazfence.worker.order import ASK_AGAIN_S, LogOrder


def log(*offsets: int) -> list[Message]:
    return [Message(offset, 0, b"") for offset in offsets]


def offsets(messages: list[Message]) -> list[int]:
    return [m.offset for m in messages]


def test_in_order_is_taken() -> None:
    order = LogOrder(3)
    admitted = order.admit(log(3, 4, 5))
    assert offsets(admitted.messages) == [3, 4, 5]
    assert (admitted.seek_to, admitted.skipped, admitted.missing, order.next_offset) == (None, 0, 0, 6)


def test_known_messages_are_skipped() -> None:
    admitted = LogOrder(3).admit(log(1, 2, 3))
    assert offsets(admitted.messages) == [3]
    assert admitted.skipped == 2


def test_a_hole_is_asked_for_once_while_old_fetches_come_in() -> None:
    order = LogOrder(0)
    assert order.admit(log(5, 6)).seek_to == 0
    assert order.admit(log(7, 8)) == ([], None, 0, 0)
    admitted = order.admit(log(0, 1, 2, 3, 4, 5))
    assert offsets(admitted.messages) == [0, 1, 2, 3, 4, 5]
    assert admitted.missing == 0


def test_what_is_missing_after_reading_again_is_gone() -> None:
    order = LogOrder(0)
    assert order.admit(log(5, 6, 7)).seek_to == 0
    admitted = order.admit(log(5, 6))
    assert offsets(admitted.messages) == [5, 6]
    assert (admitted.missing, admitted.seek_to, order.next_offset) == (5, None, 7)


def test_old_fetches_and_the_new_reading_may_come_in_one_batch() -> None:
    order = LogOrder(0)
    assert order.admit(log(5)).seek_to == 0
    admitted = order.admit(log(6, 7, 5, 6, 7))
    assert offsets(admitted.messages) == [5, 6, 7]
    assert admitted.missing == 5


def test_a_hole_in_the_middle_keeps_what_came_before() -> None:
    order = LogOrder(0)
    admitted = order.admit(log(0, 1, 4))
    assert offsets(admitted.messages) == [0, 1]
    assert admitted.seek_to == 2


def test_a_lost_seek_is_asked_for_again() -> None:
    now_s = 100.0
    order = LogOrder(0, lambda: now_s)
    assert order.ask_again() is None
    assert order.admit(log(5)).seek_to == 0
    assert order.ask_again() is None
    now_s += ASK_AGAIN_S
    assert order.ask_again() == 0
    assert order.ask_again() is None
    order.admit(log(0))
    now_s += ASK_AGAIN_S
    assert order.ask_again() is None
