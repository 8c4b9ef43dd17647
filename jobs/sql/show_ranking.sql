-- The classifier's best class and Vision's best object of each photo, side by side.
SELECT
  ranking.uri,
  ranking.label AS class,
  ROUND(ranking.score, 2) AS class_score,
  objects.name AS object,
  ROUND(objects.score, 2) AS object_score
FROM bqml_vision.resnet_ranking AS ranking
LEFT JOIN bqml_vision.vision_objects_long AS objects
  ON objects.uri = ranking.uri AND objects.rank = 1
WHERE ranking.rank = 1
ORDER BY uri
