-- What `fleetd annotate node` says.
ALTER TABLE nodes ADD COLUMN annotations_json TEXT NOT NULL DEFAULT '{}';
