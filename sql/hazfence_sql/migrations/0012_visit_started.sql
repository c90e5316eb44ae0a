-- Reports and rehearsals of a span of time find the visits that begin in it without reading all others.
CREATE INDEX visit_started ON hazfence.visit (started_at);
