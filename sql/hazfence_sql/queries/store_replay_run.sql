-- A new run of that name; nothing when there is one already.
INSERT INTO hazfence.replay_run (name, source, since, until, vehicles, settings, fences, fixes, set_aside, release)
VALUES (%(name)s, %(source)s, %(since)s, %(until)s, %(vehicles)s, %(settings)s, %(fences)s, %(fixes)s, %(set_aside)s,
        %(release)s)
ON CONFLICT (name) DO NOTHING
RETURNING run
