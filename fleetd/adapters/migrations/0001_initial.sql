-- One table per record of fleetd.core.records: its fields are the columns, in any order. No table
-- refers to another, because records outlive each other on purpose (a deleted DaemonSet's copies,
-- a host that left). Written for SQLite 3.26: no STRICT, no RETURNING.

CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
);
INSERT INTO counters (name, value) VALUES ('resource_version', 0);

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE objects (
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL,
    generation INTEGER NOT NULL,
    resource_version INTEGER NOT NULL,
    document_json TEXT NOT NULL,
    last_applied_json TEXT NOT NULL,
    created REAL NOT NULL,
    observed_generation INTEGER NOT NULL,
    PRIMARY KEY (kind, namespace, name)
);

CREATE TABLE revisions (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    number INTEGER NOT NULL,
    template_json TEXT NOT NULL,
    content_json TEXT NOT NULL,
    created REAL NOT NULL,
    cause TEXT NOT NULL,
    PRIMARY KEY (namespace, name, revision)
);

CREATE TABLE secret_values (
    digest TEXT NOT NULL PRIMARY KEY,
    data_base64 TEXT NOT NULL
);

CREATE TABLE bundles (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    profile TEXT NOT NULL,
    slot TEXT NOT NULL,
    digest TEXT NOT NULL,
    bundle_json TEXT NOT NULL,
    PRIMARY KEY (namespace, name, revision, profile, slot)
);

CREATE TABLE images (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    image TEXT NOT NULL,
    arch TEXT NOT NULL,
    pinned TEXT NOT NULL,
    PRIMARY KEY (namespace, name, revision, image, arch)
);

CREATE TABLE nodes (
    name TEXT NOT NULL PRIMARY KEY,
    machine_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    ssh_json TEXT NOT NULL,
    facts_json TEXT NOT NULL,
    seen REAL NOT NULL,
    unreachable TEXT NOT NULL,
    cordoned INTEGER NOT NULL,
    held INTEGER NOT NULL,
    labels_json TEXT NOT NULL,
    taints_json TEXT NOT NULL,
    "left" REAL NOT NULL,
    runtime TEXT NOT NULL
);

CREATE TABLE instances (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    slot TEXT NOT NULL,
    revision TEXT NOT NULL,
    bundle TEXT NOT NULL,
    phase TEXT NOT NULL,
    ready INTEGER NOT NULL,
    available INTEGER NOT NULL,
    restarts INTEGER NOT NULL,
    message TEXT NOT NULL,
    started REAL NOT NULL,
    seen REAL NOT NULL,
    PRIMARY KEY (namespace, name, node, slot)
);

CREATE TABLE statuses (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    status_json TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (namespace, name)
);

CREATE TABLE rollouts (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    state TEXT NOT NULL,
    baseline TEXT NOT NULL,
    reason TEXT NOT NULL,
    started REAL NOT NULL,
    last_progress REAL NOT NULL,
    finished INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
);

CREATE TABLE slots (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    revision TEXT NOT NULL,
    kind TEXT NOT NULL,
    taken REAL NOT NULL,
    released REAL NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (namespace, name, node, revision)
);

CREATE TABLE removals (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL,
    deleted REAL NOT NULL,
    PRIMARY KEY (namespace, name)
);

CREATE TABLE events (
    namespace TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    reason TEXT NOT NULL,
    warning INTEGER NOT NULL,
    message TEXT NOT NULL,
    count INTEGER NOT NULL,
    first REAL NOT NULL,
    last REAL NOT NULL,
    PRIMARY KEY (namespace, kind, name, node, reason, message)
);

CREATE TABLE audit (
    at REAL NOT NULL,
    who TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (at, who, verb, subject)
);
