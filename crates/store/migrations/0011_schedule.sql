-- Schedules: what is done to VMs again and again. The VM is a column because it must be there.
CREATE TABLE schedule (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES account (id),
    vm_id TEXT REFERENCES vm (id) ON DELETE CASCADE,
    enabled BIGINT NOT NULL,
    spec TEXT NOT NULL,
    next_at BIGINT NOT NULL,
    last_at BIGINT,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX schedule_unique_name ON schedule (name);
CREATE INDEX schedule_by_next ON schedule (enabled, next_at);

-- The schedule that made a snapshot, and its point in time. No reference: a snapshot outlives its schedule and is kept then.
ALTER TABLE snapshot ADD COLUMN schedule_id TEXT;
ALTER TABLE snapshot ADD COLUMN scheduled_at BIGINT;
CREATE INDEX snapshot_by_schedule ON snapshot (schedule_id, vm_id);
