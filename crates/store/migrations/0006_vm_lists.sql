-- Lists of VMs of one state in the two usual orders, at a cost that does not grow with the VMs of that state.
DROP INDEX vm_by_state;
CREATE INDEX vm_by_state_and_creation ON vm (observed_state, created_at, id);
CREATE INDEX vm_by_state_and_name ON vm (observed_state, name, id);
