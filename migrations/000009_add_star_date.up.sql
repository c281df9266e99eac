-- Release: pepdbagent 0.7.1 - 0.8.0: a star has a date.
-- Data: a star from before gets the date on which its project was submitted; its own is not known.
-- Undo: drops the dates.

LOCK TABLE projects, stars IN ACCESS EXCLUSIVE MODE;

ALTER TABLE stars ADD COLUMN star_date timestamptz;
UPDATE ONLY stars AS s SET star_date = p.submission_date FROM ONLY projects AS p WHERE p.id = s.project_id;
ALTER TABLE stars ALTER COLUMN star_date SET NOT NULL;
