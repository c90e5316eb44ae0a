"""``hazfence fences``: look at fence files, and put them into the database.

You are on the top floor; reading and repairing is done in ``hazfence_fences``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hazfence.cli import show

__all__ = ["app"]

app = typer.Typer(help="Look at fences, and put them into the database.", no_args_is_help=True)

_Path = Annotated[Path, typer.Argument(help="GeoJSON file or folder of fences.", envvar="HAZFENCE_FENCES")]


@app.command()
def check(path: _Path) -> None:
    """Read fences and say what they are, and what had to be repaired; refuse what cannot be."""
    from hazfence_fences import load_fences

    fences = load_fences(path)
    show.table(
        f"{len(fences)} fences in {path}",
        ("id", "kind", "name", "shape", "km/h #", "stay min #", "version #"),
        (
            (f.id, f.kind, f.name, f.shape, f.speed_limit_kmh, f.max_stay_min, f.version)
            for f in fences.fences
        ),
    )
    for fence in fences.fences:
        for note in fence.notes:
            show.talk.print(f"{fence.id}: {note}", markup=False)


@app.command()
def load(
    path: _Path,
    database_url: Annotated[
        str, typer.Option("--database-url", help="PostgreSQL URL.", envvar="HAZFENCE_DATABASE_URL")
    ],
) -> None:
    """Store fences in the database: a new version where something changed, nothing where not."""
    from hazfence.postgis import PostgisStore
    from hazfence_fences import load_fences

    fences = load_fences(path)

    async def save() -> int:
        store = PostgisStore(database_url)
        await store.open()
        try:
            return len((await store.save_fences(fences)).changed)
        finally:
            await store.close()

    changed = asyncio.run(save())
    show.talk.print(f"{len(fences)} fences read, {changed} new or changed")
