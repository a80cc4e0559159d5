-- What lists and placement read often: a version of each VM's row, and what the VMs of a host take together.

-- Grows with every write of the row, so that a copy in memory can be told from the row.
ALTER TABLE vm ADD COLUMN version BIGINT NOT NULL DEFAULT 0;

-- Memory that the VM takes of its host at present.
ALTER TABLE vm ADD COLUMN share_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE vm SET share_bytes = need_memory_bytes
 WHERE desired IN ('running', 'paused') OR observed_state NOT IN ('absent', 'stopped', 'hibernated');

DROP INDEX vm_by_host;
CREATE INDEX vm_by_host ON vm (host_id, share_bytes);
CREATE INDEX vm_by_creation ON vm (created_at, id);

-- Always the sum over the host's VMs: computed anew from them, never counted up and down.
CREATE TABLE host_load (
    host_id TEXT PRIMARY KEY NOT NULL REFERENCES host (id) ON DELETE CASCADE,
    vms BIGINT NOT NULL,
    share_bytes BIGINT NOT NULL
);
INSERT INTO host_load (host_id, vms, share_bytes)
    SELECT host_id, COUNT(*), CAST(SUM(share_bytes) AS BIGINT) FROM vm WHERE host_id IS NOT NULL GROUP BY host_id;
