-- Snapshots of VMs. Which layers there are stands in the VM's specification; a row says which one a snapshot froze.
CREATE TABLE snapshot (
    id TEXT PRIMARY KEY NOT NULL,
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    note TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    parent_id TEXT,
    layer_id TEXT,
    spec TEXT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX snapshot_unique_name ON snapshot (vm_id, name);

-- The images that disks of a snapshot stand on.
CREATE TABLE snapshot_image (
    snapshot_id TEXT NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    image_id TEXT NOT NULL REFERENCES image (id),
    PRIMARY KEY (snapshot_id, image_id)
);
CREATE INDEX snapshot_image_by_image ON snapshot_image (image_id);
