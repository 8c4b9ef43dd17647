-- One row for each photo: the classifier's best class, and Vision's best object if it found one.
SELECT
  ranking.uri,
  ranking.label AS class,
  ranking.score AS class_score,
  objects.name AS object,
  objects.score AS object_score
FROM {{ source('results', 'resnet_ranking') }} AS ranking
LEFT JOIN {{ source('results', 'vision_objects_long') }} AS objects
  ON objects.uri = ranking.uri AND objects.rank = 1
WHERE ranking.rank = 1
