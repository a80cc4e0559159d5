-- Signed statements about the chain of audit records, and the separation of three administrators.

-- The newest anchor with pruned = 1 is where the chain begins: the records up to it were removed by age.
CREATE TABLE audit_anchor (
    seq BIGINT PRIMARY KEY NOT NULL,
    chain TEXT NOT NULL,
    at BIGINT NOT NULL,
    key_name TEXT NOT NULL,
    signature TEXT NOT NULL,
    pruned BIGINT NOT NULL
);

-- Nobody holds two of the three administrator roles, whatever a program may think (reliability.md Y8).
CREATE UNIQUE INDEX role_binding_unique_administrator ON role_binding (user_id)
    WHERE role IN ('system_admin', 'security_admin', 'audit_admin');
