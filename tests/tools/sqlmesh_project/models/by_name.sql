MODEL (name mesh.by_name, kind FULL, audits (unique_values(columns := (name)), not_null(columns := (name))));
SELECT name, COUNT(*) AS n FROM mesh.people GROUP BY name;
