"""What is written of vehicles beforehand is, to the last byte, what a snapshot taken afresh says of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hazfence import Engine, EngineSettings
from hazfence.rules import Rulebook
from hazfence_benchmarks.rules import traffic
from hazfence_fences import load_fences

from .rule_world import ON_FILE, RULE_WORLD, rule_batch, walks
from .test_late import cut
from .test_noting import BOOKS, PLAIN_WORLD, Rows, calm_walks, restless
from .world import written_afresh

#: Each example takes many snapshots: a quarter of the usual number.
few = settings(max_examples=settings().max_examples // 4)


@few
@given(track=calm_walks() | walks(), data=st.data())
def test_any_walk_in_any_order_with_drafts_at_any_moment(track: Rows, data: st.DataObject) -> None:
    world = data.draw(st.sampled_from([PLAIN_WORLD, RULE_WORLD]))
    book = BOOKS[data.draw(st.sampled_from(sorted(BOOKS)))]
    core = replace(book, recent_s=data.draw(st.sampled_from([0.0, 120.0, 600.0, 1e6])))
    engine = Engine(world, core, ON_FILE)
    order = data.draw(st.permutations(track)) if data.draw(st.booleans()) else track
    for part in cut(data, order):
        engine.process(rule_batch(part))
        wait_s = data.draw(st.sampled_from([None, None, 0, 400, 2000]))
        if wait_s is not None and part:
            engine.advance(max(row[1] for row in part) + wait_s * 1_000_000)
        what = data.draw(st.sampled_from(["go on", "draft", "draft", "all", "restart", "file", "fences"]))
        if what == "restart":
            engine = Engine.restore(engine.snapshot(), world, core, ON_FILE)
        elif what == "file":
            engine.use_reference(ON_FILE)
        elif what == "fences":
            gone = data.draw(st.sampled_from([fence.id for fence in world.fences]))
            world = world.without(gone) if len(world) > 1 else world
            engine.use_fences(world)
        elif what != "go on":
            engine.draft(limit=1 if what == "draft" else 9)
        if data.draw(st.booleans()):
            assert engine.snapshot() == written_afresh(engine)
    assert engine.snapshot() == written_afresh(engine)


def test_traffic_is_drafted_a_few_vehicles_at_a_time_and_only_what_is_new() -> None:
    fences = load_fences("fences/zhenhai")
    core = EngineSettings(recent_s=100.0, rules=Rulebook.all_on({"overpark": {"max_min": 4}}))
    engine, told = Engine(fences, core), []
    for i, batch in enumerate(restless(traffic(fences, vehicles=150, minutes=8, seed=3), 3)):
        engine.process(batch)
        rounds = 1
        while not engine.draft(limit=20):
            rounds += 1
        told.append(rounds)
        assert engine.draft(limit=0)  # nothing is left
        if i % 10 == 0:
            assert engine.freeze().pack() == written_afresh(engine)
    assert max(told) > 3
    assert engine.snapshot() == written_afresh(engine)
