MODEL (name mesh.people, kind SEED (path '../seeds/people.csv'), columns (id INT64, name STRING, day DATE), grain id);
