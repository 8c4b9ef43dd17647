MODEL (name mesh.latest, kind INCREMENTAL_BY_UNIQUE_KEY (unique_key id));
SELECT id, name FROM mesh.people;
