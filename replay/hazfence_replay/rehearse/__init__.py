"""What a draft would have changed: history judged by today's fences and by the draft's, side by side.

You are behind ``hazfence rehearse``. ``draft.py`` lays a draft over the fences in force, just as publishing
it would; ``run.py`` lets two engines go through the same stored fixes; ``compare.py`` says which breaches are
gained, lost and changed; ``show.py`` puts examples on a map. Nothing is written anywhere near the live rows.
"""

from hazfence_replay.rehearse.compare import Change, Rehearsed, Row, compare_sides
from hazfence_replay.rehearse.draft import Draft, read_draft
from hazfence_replay.rehearse.run import Side, Window, run

__all__ = ["Change", "Draft", "Rehearsed", "Row", "Side", "Window", "compare_sides", "read_draft", "run"]
