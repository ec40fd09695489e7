-- How many records somebody else made, changed or removed when the sink was last found so, and when that was.
ALTER TABLE member ADD COLUMN others INTEGER;
ALTER TABLE member ADD COLUMN others_at TEXT;
