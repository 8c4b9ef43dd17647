-- What each model says about each photo: one row per label. To compare another model, add one more SELECT.
-- Rank 1 is the model's best label. The box is left, top, right, bottom as fractions of the photo's width and
-- height (0 to 1); NULL if the label is for the whole photo.
SELECT
  'resnet' AS model, uri, label, score, rank,
  CAST(NULL AS FLOAT64) AS x_min, CAST(NULL AS FLOAT64) AS y_min,
  CAST(NULL AS FLOAT64) AS x_max, CAST(NULL AS FLOAT64) AS y_max
FROM bqml_vision.resnet_ranking
UNION ALL
SELECT
  'vision_labels', photo.uri, JSON_VALUE(label, '$.description'), CAST(JSON_VALUE(label, '$.score') AS FLOAT64),
  position + 1, NULL, NULL, NULL, NULL
FROM bqml_vision.vision_labels AS photo
CROSS JOIN UNNEST(JSON_QUERY_ARRAY(photo.response, '$.responses[0].labelAnnotations')) AS label
  WITH OFFSET AS position
UNION ALL
SELECT 'vision_objects', uri, name, score, rank, x_min, y_min, x_max, y_max
FROM bqml_vision.vision_objects_long
