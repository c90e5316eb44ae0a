-- A fourth severity: an alarm of the terminal by which somebody may need help now weighs more than any breach.
ALTER TABLE hazfence.visit DROP CONSTRAINT visit_severity_known;
ALTER TABLE hazfence.visit ADD CONSTRAINT visit_severity_known
    CHECK (severity IN ('info', 'warning', 'breach', 'emergency'));
ALTER TABLE hazfence.event DROP CONSTRAINT event_severity_known;
ALTER TABLE hazfence.event ADD CONSTRAINT event_severity_known
    CHECK (severity IN ('info', 'warning', 'breach', 'emergency'));
ALTER TABLE hazfence.replay_event DROP CONSTRAINT replay_event_severity_known;
ALTER TABLE hazfence.replay_event ADD CONSTRAINT replay_event_severity_known
    CHECK (severity IN ('info', 'warning', 'breach', 'emergency'));
