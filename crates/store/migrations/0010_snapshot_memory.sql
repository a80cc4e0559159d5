-- Stored memory of snapshots: the size of its file, and for how long the guest was held while it was stored.
ALTER TABLE snapshot ADD COLUMN memory_bytes BIGINT;
ALTER TABLE snapshot ADD COLUMN paused_ms BIGINT;
