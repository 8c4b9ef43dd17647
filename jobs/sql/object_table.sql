-- The photos of a bucket as a table: one row per object, with the file itself in the hidden column `data`.
CREATE SCHEMA IF NOT EXISTS bqml_vision;

CREATE OR REPLACE EXTERNAL TABLE bqml_vision.object_table
WITH CONNECTION `$connection$`
OPTIONS (object_metadata = 'SIMPLE', uris = ['gs://$bucket$/*']);
