-- Several managers on one database, and rows that come from a backup.

-- Each life of a manager: agents are told the addresses. A manager that was not seen for a while is left out.
CREATE TABLE manager (
    instance TEXT PRIMARY KEY NOT NULL,
    node_address TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    -- It was stopped in good order: it does not serve, but it is expected back.
    stopped BIGINT NOT NULL
);

-- VMs whose rows come from a backup and were not changed since: while the VM has generation `generation`, what its host
-- says counts, whatever it was ordered after the backup. `former_generation` is what the row had in the backup.
CREATE TABLE vm_restored (
    vm_id TEXT PRIMARY KEY NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    former_generation BIGINT NOT NULL
);
