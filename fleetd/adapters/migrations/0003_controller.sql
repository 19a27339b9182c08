-- Since when an object is being deleted in the foreground, and when a copy was met first.
ALTER TABLE objects ADD COLUMN deleting REAL NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN created REAL NOT NULL DEFAULT 0;

CREATE TABLE pauses (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    paused INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (namespace, name)
);

CREATE TABLE taints (
    node TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    added REAL NOT NULL,
    PRIMARY KEY (node, key, value)
);
