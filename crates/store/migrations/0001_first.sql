-- The first schema of Virga. Plain SQL that SQLite and PostgreSQL both take.
--
-- Types: BIGINT (numbers, times in microseconds, 0/1 for yes and no), TEXT (words, UUIDs of 36 characters, JSON).
-- Yes and no are BIGINT, because sqlx's Any driver cannot read a BOOLEAN column of SQLite.
-- A migration that was released is never changed: the next one gets the next number.

CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

-- Numbers for events and audit records. Taking one locks the row until the end of the transaction, so that
-- numbers become visible in their order on every engine.
CREATE TABLE counter (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('event', 0);
INSERT INTO counter (name, value) VALUES ('audit', 0);

CREATE TABLE loop_lease (
    name TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    until_at BIGINT NOT NULL
);

CREATE TABLE account (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    must_change BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    locked_until BIGINT,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_unique_name ON account (name);

CREATE TABLE role_binding (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    scope_kind TEXT NOT NULL,
    scope_id TEXT NOT NULL
);
CREATE UNIQUE INDEX role_binding_unique_grant ON role_binding (user_id, role, scope_kind, scope_id);

CREATE TABLE session (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    secret_sha256 TEXT NOT NULL,
    csrf_sha256 TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX session_unique_secret ON session (secret_sha256);
CREATE INDEX session_by_user ON session (user_id);
CREATE INDEX session_by_expiry ON session (expires_at);

CREATE TABLE api_token (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    secret_sha256 TEXT NOT NULL,
    role TEXT,
    scope TEXT,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX api_token_unique_secret ON api_token (secret_sha256);
CREATE INDEX api_token_by_user ON api_token (user_id);

CREATE TABLE host (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    maintenance BIGINT NOT NULL,
    certificate_sha256 TEXT NOT NULL,
    generation BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    facts TEXT NOT NULL,
    last_report_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX host_unique_name ON host (name);

CREATE TABLE join_token (
    id TEXT PRIMARY KEY NOT NULL,
    host_name TEXT NOT NULL,
    secret_sha256 TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_by TEXT
);
CREATE UNIQUE INDEX join_token_unique_secret ON join_token (secret_sha256);

CREATE TABLE image (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    format TEXT,
    size_bytes BIGINT NOT NULL,
    virtual_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX image_unique_name ON image (name);

CREATE TABLE network (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    generation BIGINT NOT NULL,
    deleting BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX network_unique_name ON network (name);

-- The columns after created_at and updated_at repeat what the JSON says, for lists, filters and placement.
CREATE TABLE vm (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    labels TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES account (id),
    spec TEXT NOT NULL,
    former_spec TEXT,
    desired TEXT NOT NULL,
    stop_mode TEXT NOT NULL,
    generation BIGINT NOT NULL,
    host_id TEXT REFERENCES host (id),
    placement TEXT,
    observed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    observed_state TEXT NOT NULL,
    observed_generation BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    drift BIGINT NOT NULL,
    ips TEXT NOT NULL,
    cpus BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    need_vcpus BIGINT NOT NULL,
    need_memory_bytes BIGINT NOT NULL,
    need_disk_bytes BIGINT NOT NULL
);
CREATE UNIQUE INDEX vm_unique_name ON vm (name);
CREATE INDEX vm_by_host ON vm (host_id);
CREATE INDEX vm_by_owner ON vm (owner_id, name, id);
CREATE INDEX vm_by_state ON vm (observed_state, id);
CREATE INDEX vm_unsettled ON vm (updated_at) WHERE host_id IS NOT NULL AND (settled = 0 OR observed_generation < generation);

CREATE TABLE vm_label (
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    label_key TEXT NOT NULL,
    label_value TEXT NOT NULL,
    PRIMARY KEY (vm_id, label_key)
);
CREATE INDEX vm_label_by_value ON vm_label (label_key, label_value);

CREATE TABLE vm_image (
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    image_id TEXT NOT NULL REFERENCES image (id),
    PRIMARY KEY (vm_id, image_id)
);
CREATE INDEX vm_image_by_image ON vm_image (image_id);

CREATE TABLE vm_network (
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    network_id TEXT NOT NULL REFERENCES network (id),
    PRIMARY KEY (vm_id, network_id)
);
CREATE INDEX vm_network_by_network ON vm_network (network_id);

CREATE TABLE vm_mac (
    mac TEXT NOT NULL,
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX vm_mac_unique_mac ON vm_mac (mac);
CREATE INDEX vm_mac_by_vm ON vm_mac (vm_id);

CREATE TABLE console_ticket (
    secret_sha256 TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    vm_id TEXT NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX console_ticket_by_expiry ON console_ticket (expires_at);
CREATE INDEX console_ticket_by_user ON console_ticket (user_id);
CREATE INDEX console_ticket_by_vm ON console_ticket (vm_id);

CREATE TABLE task (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    object_name TEXT NOT NULL,
    cause TEXT NOT NULL,
    requester TEXT,
    state TEXT NOT NULL,
    progress TEXT NOT NULL,
    message TEXT NOT NULL,
    error TEXT,
    cancel BIGINT NOT NULL,
    parent TEXT,
    doc TEXT NOT NULL,
    lease_owner TEXT,
    lease_until BIGINT,
    attempt BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    -- Somebody called while a manager held the lease: its save must not put the task to sleep.
    woken BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX task_unique_object ON task (object_kind, object_id)
    WHERE state IN ('queued', 'running') AND kind <> 'vm_batch';
CREATE INDEX task_due ON task (not_before) WHERE state IN ('queued', 'running');
CREATE INDEX task_by_object ON task (object_kind, object_id, created_at);
CREATE INDEX task_by_parent ON task (parent);
CREATE INDEX task_by_requester ON task (requester);
CREATE INDEX task_by_creation ON task (created_at, id);
CREATE INDEX task_by_end ON task (ended_at);

CREATE TABLE event (
    id BIGINT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    object_name TEXT NOT NULL,
    owner_id TEXT,
    host_id TEXT,
    task_id TEXT,
    message TEXT NOT NULL
);
CREATE INDEX event_by_object ON event (object_id, id);
CREATE INDEX event_by_time ON event (at);
CREATE INDEX event_by_owner ON event (owner_id, id);

CREATE TABLE audit (
    id BIGINT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    user_id TEXT,
    actor TEXT NOT NULL,
    source TEXT NOT NULL,
    operation TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    object_name TEXT NOT NULL,
    result TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    chain TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_object ON audit (object_id, id);

CREATE TABLE idempotency (
    user_id TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    idempotency_key TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    status BIGINT,
    body TEXT,
    location TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, idempotency_key)
);
CREATE INDEX idempotency_by_time ON idempotency (created_at);
