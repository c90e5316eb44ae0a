-- How far time has come on each partition, for whoever has to look at all of them together: rules about more than one
-- vehicle may say what is missing only when every partition has got that far.
ALTER TABLE hazfence.checkpoint ADD COLUMN heard_until timestamptz;
COMMENT ON COLUMN hazfence.checkpoint.heard_until IS 'All that can be said of the vehicles up to this moment is stored';
