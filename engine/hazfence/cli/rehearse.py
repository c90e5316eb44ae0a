"""``hazfence rehearse``: what a draft would have changed, from stored fixes, without touching anything.

You are on the top floor; the work is done in ``hazfence_replay.rehearse``.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hazfence.cli import show

if TYPE_CHECKING:
    from hazfence.postgis.history import History
    from hazfence_fences import FenceSet
    from hazfence_replay.rehearse import Draft, Rehearsed, Window

__all__ = ["rehearse"]


def rehearse(
    since: Annotated[str, typer.Option("--from", help="Date or moment; facts that begin from then on.")],
    until: Annotated[str, typer.Option("--to", help="Date (that day included) or moment (not included).")],
    database_url: Annotated[
        str, typer.Option("--database-url", help="PostgreSQL URL.", envvar="HAZFENCE_DATABASE_URL")
    ],
    draft: Annotated[
        Path | None, typer.Option("--draft", help="GeoJSON file or folder: the fences that change.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Id of a fence to take out of force.")
    ] = None,
    draft_engine: Annotated[
        str, typer.Option("--draft-engine", help='Thresholds that change, as JSON: {"overspeed_for_s": 30}.')
    ] = "",
    engine: Annotated[
        str, typer.Option("--engine", help="The workers' thresholds, as JSON.", envvar="HAZFENCE_ENGINE")
    ] = "",
    rules: Annotated[
        str, typer.Option("--rules", help="The workers' rulebook file, or all.", envvar="HAZFENCE_RULES")
    ] = "",
    fences: Annotated[
        Path | None,
        typer.Option("--fences", help="The workers' fences, where they are not those of the database."),
    ] = None,
    before_h: Annotated[
        float, typer.Option(min=0, help="Hours read before, to know who is where when it begins.")
    ] = 24.0,
    after_h: Annotated[
        float, typer.Option(min=0, help="Hours read beyond, to see what comes of what began.")
    ] = 2.0,
    clock: Annotated[
        str, typer.Option(help="The workers' clock, wall or event.", envvar="HAZFENCE_CLOCK")
    ] = "wall",
    visits: Annotated[
        bool, typer.Option("--visits", help="Compare visits too, not only their numbers.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that judge; one for each core by default.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Examples of each fence and kind.")] = 3,
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="For days and times.", envvar="HAZFENCE_TIME_ZONE")
    ] = "Asia/Shanghai",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a map of the examples as one HTML file.")] = None,
) -> None:
    """Judge history by draft fences and limits beside today's: breaches gained, lost, changed."""
    from hazfence.cli.moments import span
    from hazfence.cli.thresholds import file_asked, object_of, thresholds
    from hazfence.postgis.history import History
    from hazfence_fences import load_fences
    from hazfence_replay.explain.reads import READ_KINDS
    from hazfence_replay.processes import cores
    from hazfence_replay.readers import Wanted
    from hazfence_replay.readers.fix_table import FixTableReader
    from hazfence_replay.rehearse import Side, compare_sides, read_draft, run

    if clock not in ("wall", "event"):
        raise ValueError(f"--clock {clock!r}: write wall or event, as HAZFENCE_CLOCK of the workers")
    settings = thresholds(engine, rules)
    changed = object_of(draft_engine, "--draft-engine")
    with History(database_url, time_zone=time_zone) as history:
        since_us, until_us = span(since, until, history.zone)
        assert since_us is not None
        assert until_us is not None
        window = _window(history, since_us, until_us, before_h, after_h, clock)
        timeline = _timeline(history, window, None if fences is None else load_fences(fences))
        today = timeline[-1][1]
        versions = {v.fence.id: v.fence.version for v in history.fences().versions}
        plan = read_draft(draft, today=today, without=without or (), settings=changed, versions=versions)
        planned, on_file = plan.settings_over(settings), history.reference()
        count = cores() if workers is None else workers
        each = 0 if count == 1 else -(-count // 2)
        sides = (
            Side(timeline, settings, file_asked(settings, today, on_file), window, visits, each),
            Side(
                [(moment, plan.over(there)) for moment, there in timeline],
                planned,
                file_asked(planned, plan.over(today), on_file),
                window,
                visits,
                each,
            ),
        )
        wanted = Wanted(window.read_since_us, window.read_until_us)
        reader = FixTableReader(database_url, wanted=wanted)
        with show.share_progress() as bars:
            bar = bars.add_task("judging twice", total=1.0, at="")
            began_s = time.monotonic()

            def watch(done: int, newest_us: int) -> None:
                rate = done / max(time.monotonic() - began_s, 1e-3)
                at = history.local(newest_us)
                bars.update(bar, completed=reader.share or 0.0, fixes=done, rate=rate, at=at)

            count = run(reader, sides, window, watch=watch)
        if not count:
            raise ValueError(_no_fixes(history, window))
        live = history.beginning(since_us, until_us, visits=visits)
        found = compare_sides(*sides, [event for event in live if event.kind not in READ_KINDS])
        if as_json:
            typer.echo(json.dumps({"fixes": count, **found.to_json()}, ensure_ascii=False))
        else:
            _print(history, found, examples, plan)
        _beside_live(found)
        if html is not None:
            _map(history, html, plan.over(today), found, examples, window)


def _window(
    history: History, since_us: int, until_us: int, before_h: float, after_h: float, clock: str
) -> Window:
    from hazfence.postgis.moments import us_of
    from hazfence_replay.rehearse import Window

    read_until_us = until_us + round(after_h * 3_600_000_000)
    end_us: int | None = read_until_us
    if not history.fixes_from(read_until_us):
        # The stored history ends before: time has come only as far as the workers have let it.
        end_us = None if clock == "event" else min(read_until_us, us_of(datetime.now(UTC)) - 60_000_000)
    return Window(since_us, until_us, since_us - round(before_h * 3_600_000_000), read_until_us, end_us)


def _timeline(history: History, window: Window, given: FenceSet | None) -> list[tuple[int, FenceSet]]:
    """The fences in force through the window."""
    if given is not None:
        return [(window.read_since_us, given)]
    versions = history.fences()
    if versions.first_us is None:
        raise ValueError("the database holds no fence: load some (hazfence fences load), or give --fences")
    if versions.first_us >= window.until_us:
        show.talk.print(
            f"no fence had been saved by then (the first: {history.local(versions.first_us)}), so these "
            "fixes came later than they are of: judged by the fences in force now",
            soft_wrap=True,
        )
        return [(window.read_since_us, versions.now())]
    moments = [window.read_since_us, *versions.changes(window.read_since_us, window.read_until_us)]
    return [(moment, versions.at(moment)) for moment in moments]


def _no_fixes(history: History, window: Window) -> str:
    since, until = history.local(window.read_since_us), history.local(window.read_until_us)
    days = history.fix_days()
    if not days:
        return "the database holds no fixes: workers store them unless HAZFENCE_KEEP_FIXES is off"
    return (
        f"no fix is stored between {since} and {until} ({history.time_zone}); there are some of "
        f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d} (UTC)"
    )


def _print(history: History, found: Rehearsed, most: int, draft: Draft) -> None:
    what = "today; nothing is drafted" if draft.empty else "today and by the draft"
    show.table(
        f"Breaches {what}",
        ("fence", "kind", "today #", "draft #", "gained #", "lost #", "changed #"),
        ((r.fence_id or "(none)", r.kind, r.today, r.draft, r.gained, r.lost, r.changed) for r in found.rows),
    )
    if found.visits:
        show.table("Visits, where their number differs", ("fence", "today #", "draft #"), found.visits)
    shown = found.examples(most)
    if shown:
        show.table(
            f"Examples, {len(shown)} of {len(found.changes)}",
            ("", "kind", "vehicle", "fence", "from", "to", "what changed", "event today"),
            (
                (
                    c.what,
                    c.event.kind,
                    c.event.vehicle,
                    c.event.fence_id,
                    history.local(c.event.started_us),
                    history.local(c.event.ended_us) or "goes on",
                    ", ".join(name for name, _, _ in c.fields),
                    "" if c.today is None else c.today.id,
                )
                for c in shown
            ),
        )


def _beside_live(found: Rehearsed) -> None:
    if not found.live:
        show.talk.print(f"today's side equals what was said live: {found.live_same:,} rows")
        return
    show.talk.print(
        f"today's side does NOT equal what was said live: {found.live_same:,} rows are the same, "
        f"{len(found.live):,} are not (other fences or settings then? --json has them all), e.g.",
        soft_wrap=True,
    )
    names = {"gained": "only rehearsed", "lost": "only live", "changed": "different"}
    for change in found.live[:3]:
        fields = ", ".join(f"{name} {was} / {now}" for name, was, now in change.fields)
        show.talk.print(
            f"  {names[change.what]}: {change.event.kind} {change.event.id} {fields}",
            markup=False,
            soft_wrap=True,
        )


def _map(history: History, path: Path, fences: FenceSet, found: Rehearsed, most: int, window: Window) -> None:
    from hazfence_replay.rehearse.show import ways_of, write_map

    shown = found.examples(most)
    counts = {what: sum(c.what == what for c in found.changes) for what in ("gained", "lost", "changed")}
    write_map(
        path,
        fences,
        shown,
        ways_of(history.url, shown),
        title="Rehearsal",
        subtitle=f"{history.local(window.since_us)} to {history.local(window.until_us)}: "
        + ", ".join(f"{n} {what}" for what, n in counts.items())
        + f"; {len(shown)} examples",
        time_zone=history.time_zone,
    )
    show.talk.print(f"map: {path}", markup=False)
