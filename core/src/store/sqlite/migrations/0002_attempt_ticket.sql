-- What to ask with, where a write was taken and is answered later.
ALTER TABLE link ADD COLUMN attempt_ticket TEXT;
