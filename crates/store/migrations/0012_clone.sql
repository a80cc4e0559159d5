-- Templates: VMs from which others are made. The column repeats what stands in the specification, for lists.
ALTER TABLE vm ADD COLUMN template BIGINT NOT NULL DEFAULT 0;
CREATE INDEX vm_template ON vm (name, id) WHERE template = 1;

-- On which file of which other VM a VM's disks stand, or are being copied from. The reference keeps the parent there. An empty
-- layer is the base.
CREATE TABLE vm_parent (
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    parent_id TEXT NOT NULL REFERENCES vm (id),
    disk_id TEXT NOT NULL,
    layer_id TEXT NOT NULL,
    PRIMARY KEY (vm_id, parent_id, disk_id, layer_id)
);
CREATE INDEX vm_parent_by_parent ON vm_parent (parent_id);

-- VMs whose layers were frozen for clones, and are to be merged when no clone needs them any more.
CREATE TABLE vm_frozen (
    vm_id TEXT PRIMARY KEY NOT NULL REFERENCES vm (id) ON DELETE CASCADE
);
