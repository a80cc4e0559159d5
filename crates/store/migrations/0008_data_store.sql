-- Data stores: the managed places that carry disks of VMs. The local one of a host has the host's id.
CREATE TABLE data_store (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    host_id TEXT REFERENCES host (id) ON DELETE CASCADE,
    maintenance BIGINT NOT NULL,
    state TEXT NOT NULL,
    nearly_full BIGINT NOT NULL,
    overcommitted BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX data_store_unique_name ON data_store (name);
CREATE INDEX data_store_by_host ON data_store (host_id);

INSERT INTO data_store (id, name, description, kind, spec, host_id, maintenance, state, nearly_full, overcommitted, generation, created_at)
    SELECT id, 'local-' || name, '', 'local', '{"kind":"local"}', id, 0, 'ready', 0, 0, 1, created_at FROM host;

-- Where the disks of a VM lie, and what they may come to need there with all of their layers.
CREATE TABLE vm_data_store (
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    data_store_id TEXT NOT NULL REFERENCES data_store (id),
    bytes BIGINT NOT NULL,
    PRIMARY KEY (vm_id, data_store_id)
);
CREATE INDEX vm_data_store_by_store ON vm_data_store (data_store_id);

INSERT INTO vm_data_store (vm_id, data_store_id, bytes)
    SELECT id, host_id, need_disk_bytes FROM vm WHERE host_id IS NOT NULL AND need_disk_bytes > 0;

-- The data stores, other than local ones, on which disks of a snapshot lie.
CREATE TABLE snapshot_data_store (
    snapshot_id TEXT NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    data_store_id TEXT NOT NULL REFERENCES data_store (id),
    PRIMARY KEY (snapshot_id, data_store_id)
);
CREATE INDEX snapshot_data_store_by_store ON snapshot_data_store (data_store_id);
