-- Version 2: what operators watch is found without a scan.

-- The oldest pending delivery of each target, for the alert on its age.
CREATE INDEX deliveries_since ON deliveries (target, since) WHERE state = 0;
-- Events that wait for a person.
CREATE INDEX events_waiting ON events (state) WHERE state <> 'routed';
