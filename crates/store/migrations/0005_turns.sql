-- Claiming looks at few rows, however many wait: by class of work, by who asked, by when it is due.
-- The expressions stand in task_claim.rs in the same words; a test there looks whether both engines use the indexes.

CREATE INDEX task_turn ON task (
    (CASE WHEN cause = 'ha' THEN 0 WHEN cause <> 'user' THEN 1 WHEN parent IS NULL THEN 2 ELSE 3 END),
    (COALESCE(requester, '')),
    (CASE WHEN lease_until IS NOT NULL AND lease_until > not_before THEN lease_until ELSE not_before END),
    created_at,
    id
) WHERE state IN ('queued', 'running');

DROP INDEX task_due;
CREATE INDEX task_next_due ON task (
    (CASE WHEN lease_until IS NOT NULL AND lease_until > not_before THEN lease_until ELSE not_before END)
) WHERE state IN ('queued', 'running');

-- How many tasks somebody has under way, without reading them.
CREATE INDEX task_active_by_requester ON task (requester) WHERE state IN ('queued', 'running');
