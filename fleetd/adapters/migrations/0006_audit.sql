-- The audit: what it says of hosts, and that nothing in it is ever changed. Its rows are their own
-- identity. The newest million is kept, by the order of writing and by no clock: a host whose clock
-- jumps must not lose its past.
ALTER TABLE audit RENAME TO audit_0005;

CREATE TABLE audit (
    at REAL NOT NULL,
    who TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    node TEXT NOT NULL,
    revision TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (at, who, verb, subject, node, revision, outcome, detail)
);

INSERT INTO audit (at, who, verb, subject, detail, node, revision, outcome)
SELECT at, who, verb, subject, detail, '', '', 'done' FROM audit_0005 ORDER BY rowid;

DROP TABLE audit_0005;

-- INSERT OR REPLACE deletes the old row without asking the triggers below.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (
    SELECT 1 FROM audit
    WHERE at = NEW.at AND who = NEW.who AND verb = NEW.verb AND subject = NEW.subject
    AND node = NEW.node AND revision = NEW.revision AND outcome = NEW.outcome
    AND detail = NEW.detail
)
BEGIN
    SELECT RAISE(IGNORE);
END;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.rowid > (SELECT max(rowid) FROM audit) - 1000000
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TRIGGER audit_is_bounded AFTER INSERT ON audit
BEGIN
    DELETE FROM audit WHERE rowid <= NEW.rowid - 1000000;
END;
