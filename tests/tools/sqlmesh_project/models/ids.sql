MODEL (name mesh.ids, kind VIEW);
SELECT id FROM mesh.people;
