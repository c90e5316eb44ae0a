"""History through the same engine: track readers, a player, a simulator and a map.

You are at the door of the replay house, which stands on the core (``hazfence``) and the fences
(``hazfence_fences``) and is imported by neither. Rooms: ``readers`` (recorded tracks as batches of
fixes), ``player`` (fixes through an engine, event time as clock), ``ledger`` (events as rows),
``simulator`` (trucks with planted breaches), ``compare`` (planted against found), ``map`` (fences,
tracks and breaches as one HTML file or a PNG).
"""
