-- How each container of a copy was, as last seen.
ALTER TABLE instances ADD COLUMN members_json TEXT NOT NULL DEFAULT '[]';
