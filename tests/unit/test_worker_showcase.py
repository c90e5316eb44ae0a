"""The board beside a partition: it follows, is laid anew when lost, and holds nothing up."""

from __future__ import annotations

from structlog.testing import capture_logs

from hazfence import FixBatch

from .worker_place import MINUTE_US, OUT, START_US, Place, fix, log, run


def test_board_follows_and_is_laid_anew_when_emptied() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor, tail=1)
        await processor.feed(log(fix(0), fix(1, OUT, "B")))
        assert await showcase.update()
        assert place.board.vehicles["A"].inside == ("park",)
        assert place.board.vehicles["B"].inside == ()
        (visit,) = place.board.open_events.values()
        place.board.forget()
        place.now_s += 1
        await processor.feed(log(fix(2, OUT, "B"), start=2))
        assert await showcase.update()
        assert place.board.vehicles["A"].inside == ("park",)
        assert place.board.open_events == {visit.id: visit}
        assert place.sample("board_rebuilds_total") == 2
        await processor.feed(log(fix(3, OUT), start=3))
        assert await showcase.update()
        assert place.board.open_events == {}

    run(go())


def test_an_emptied_board_is_noticed_in_silence() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor)
        await processor.feed(log(fix(0)))
        await showcase.update()
        place.board.forget()
        place.now_s += 6
        await showcase.update()
        assert set(place.board.vehicles) == {"A"}

    run(go())


def test_a_board_of_another_database_is_laid_anew() -> None:
    async def go() -> None:
        place = Place()
        await place.board.rebuild("t", 0, FixBatch.empty(), [], [], after_seq=10**6)
        processor = await place.processor()
        await processor.feed(log(fix(0)))
        await place.showcase(processor).update()
        assert len(place.board.stream) == 1
        assert set(place.board.vehicles) == {"A"}

    run(go())


def test_positions_are_shown_at_most_once_a_second() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor)
        await processor.feed(log(fix(0)))
        await showcase.update()
        for minute in (1, 2):
            place.now_s += 0.4
            await processor.feed(log(fix(minute), start=minute))
            await showcase.update()
            assert place.board.vehicles["A"].fix.time_us[0] == START_US
        place.now_s += 0.4
        await showcase.update()
        assert place.board.vehicles["A"].fix.time_us[0] == START_US + 2 * MINUTE_US

    run(go())


def test_a_board_that_is_away_holds_nothing_up() -> None:
    async def go() -> None:
        place = Place()
        processor = await place.processor()
        showcase = place.showcase(processor)
        place.board.away = True
        await processor.feed(log(fix(0)))
        with capture_logs() as logs:
            for _ in range(5):
                assert not await showcase.update()
                place.now_s += 1
        assert sum(entry["event"].startswith("board away") for entry in logs) == 1
        assert place.kinds() == ["visit"]
        place.board.away = False
        place.now_s += 10
        assert await showcase.update()
        assert len(place.board.stream) == 1
        assert place.sample("board_up") == 1

    run(go())
