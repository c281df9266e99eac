-- Release: back to pepdbagent 0.4.0 - 0.4.1, whose document is jsonb.
-- Data: keys get jsonb's order, and of two equal ones the last stays; fails on \u0000 and on escapes of characters that the encoding lacks, which jsonb cannot hold.
-- Undo: stores json again, in jsonb's order.

ALTER TABLE projects ALTER COLUMN project_value TYPE jsonb USING project_value::text::jsonb;
