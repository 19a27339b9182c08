-- When a node answered first: its age.
ALTER TABLE nodes ADD COLUMN joined REAL NOT NULL DEFAULT 0;
