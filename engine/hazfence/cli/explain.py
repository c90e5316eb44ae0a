"""``hazfence explain``: why a visit or breach was said, and whether it still stands.

You are on the top floor; the work is done in ``hazfence_replay.explain``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from hazfence.cli import show

if TYPE_CHECKING:
    from hazfence_replay.explain import Evidence, Explanation, Finding

__all__ = ["explain"]


def explain(
    event_id: Annotated[str | None, typer.Argument(help="The event's id, 32 hex digits.")] = None,
    database_url: Annotated[
        str, typer.Option("--database-url", help="PostgreSQL URL.", envvar="HAZFENCE_DATABASE_URL")
    ] = "",
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
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
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="For times.", envvar="HAZFENCE_TIME_ZONE")
    ] = "Asia/Shanghai",
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanation as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write it as one page with a picture.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture of the place.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all evidence as one file: .zip, or else JSON.")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Check such a file, and judge its evidence again.")
    ] = None,
    seal: Annotated[str | None, typer.Option(help="With --verify: the seal that was noted.")] = None,
) -> None:
    """Explain a visit or breach from its evidence, and judge it again."""
    from hazfence.cli.thresholds import thresholds
    from hazfence.postgis.history import History
    from hazfence_fences import load_fences
    from hazfence_replay.explain import examine, gather

    if language not in ("en", "zh"):
        raise ValueError(f"--language {language!r}: write en or zh")
    if (event_id is None) == (verify is None):
        raise ValueError("give the id of an event, or --verify and a file of evidence")
    if seal is not None and verify is None:
        raise ValueError("--seal belongs to --verify: it is what --out printed when the file was written")
    if verify is not None:
        evidence = _verified(verify, seal)
    else:
        if not database_url:
            raise ValueError("the evidence is in the database: set HAZFENCE_DATABASE_URL or --database-url")
        assert event_id is not None
        with History(database_url, time_zone=time_zone) as history:
            evidence = gather(
                history,
                event_id,
                settings=thresholds(engine, rules),
                fences=None if fences is None else load_fences(fences),
            )
    _tell(evidence, examine(evidence), "en" if language == "en" else "zh", time_zone, as_json, html, png, out)


def _verified(path: Path, seal: str | None) -> Evidence:
    from hazfence_replay.explain import Evidence, read_bundle

    bundle = read_bundle(path, seal=seal)
    if bundle.faults:
        for fault in bundle.faults:
            show.talk.print(f"  {fault}", markup=False, soft_wrap=True)
        raise ValueError(f"{path}: NOT as it was written, {len(bundle.faults)} faults, see above")
    show.talk.print(
        f"{path}: {len(bundle.parts)} parts, as they were written; seal {bundle.seal}",
        markup=False,
        soft_wrap=True,
    )
    try:
        return Evidence.of_parts(bundle.parts)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: the chain holds, but the evidence cannot be read: {error}") from None


def _tell(
    evidence: Evidence,
    finding: Finding,
    language: Literal["en", "zh"],
    time_zone: str,
    as_json: bool,
    html: Path | None,
    png: Path | None,
    out: Path | None,
) -> None:
    from hazfence_replay.explain import tell
    from hazfence_replay.explain.page import page
    from hazfence_replay.explain.picture import draw, write_png

    told = tell(evidence, finding, language=language, time_zone=time_zone)
    if as_json:
        show.json_lines([told.to_json()])
    else:
        _print(told)
    if html is not None:
        html.write_bytes(page(told, draw(evidence, finding)))
        show.talk.print(f"page: {html}", markup=False)
    if out is not None:
        from hazfence import __version__
        from hazfence_replay.explain import write_bundle

        about = {"made_by": f"hazfence {__version__}", "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        seal = write_bundle(
            out,
            {
                "about.json": (json.dumps(about) + "\n").encode(),
                **evidence.parts(),
                "explanation.json": (
                    json.dumps(told.to_json(), ensure_ascii=False, indent=1) + "\n"
                ).encode(),
                "explanation.html": page(told, draw(evidence, finding)),
            },
        )
        show.talk.print(
            f"evidence: {out}\nseal: {seal}  (note it: only with it the whole can be trusted)",
            markup=False,
            soft_wrap=True,
        )
    if png is not None:
        write_png(png, evidence)
        show.talk.print(f"picture: {png}", markup=False)


def _print(told: Explanation) -> None:
    from hazfence_replay.explain.phrases import WORDS

    at = 0 if told.language == "en" else 1

    def head(word: str) -> None:
        show.out.print(Text(f"\n{WORDS[word][at]}", style="bold"))

    def pairs(rows: tuple[tuple[str, str], ...]) -> None:
        widest = max((Text(name).cell_len for name, _ in rows), default=0)
        for name, value in rows:
            show.out.print(Text(f"  {name}{' ' * (widest - Text(name).cell_len)}  {value}"))

    show.out.print(Text(told.title, style="bold"))
    pairs(told.facts)
    head("does it stand")
    show.out.print(Text(f"  {told.said}"))
    for reason in told.reasons:
        show.out.print(Text(f"  - {reason}"))
    head("steps")
    for i, step in enumerate(told.steps, 1):
        show.out.print(Text(f"  {i}. {step}"))
    if told.rule:
        head("rule")
        for line in told.rule:
            show.out.print(Text(f"  {line}"))
    if told.parameters:
        head("parameters")
        for name, value, unit, meaning in told.parameters:
            show.out.print(Text(f"  {name} = {value} {unit}".rstrip() + f": {meaning}"))
    if told.fence:
        head("the fence")
        pairs(told.fence)
    if told.before:
        head("state before")
        pairs(told.before)
    if told.fixes:
        show.out.print()
        show.table(
            WORDS["fixes"][at],
            [WORDS[w][at] for w in ("time", "longitude", "latitude", "speed", "fences", "note")],
            ((f.time, f"{f.lon:.6f}", f"{f.lat:.6f}", f.speed_kmh, f.fences, f.note) for f in told.fixes),
        )
    if told.revisions:
        show.table(
            WORDS["revisions"][at],
            [WORDS[w][at] for w in ("revision", "phase", "known at", "from", "to")],
            told.revisions,
        )
