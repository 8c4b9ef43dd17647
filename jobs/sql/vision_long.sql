-- Vision's JSON answers as one row per object found. Vision omits a coordinate that is 0.
SELECT
  photo.uri,
  position + 1 AS rank,
  JSON_VALUE(object, '$.mid') AS mid,
  JSON_VALUE(object, '$.name') AS name,
  CAST(JSON_VALUE(object, '$.score') AS FLOAT64) AS score,
  IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[0].x') AS FLOAT64), 0) AS x_min,
  IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[0].y') AS FLOAT64), 0) AS y_min,
  IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[2].x') AS FLOAT64), 0) AS x_max,
  IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[2].y') AS FLOAT64), 0) AS y_max
FROM bqml_vision.vision_objects AS photo
CROSS JOIN UNNEST(JSON_QUERY_ARRAY(photo.response, '$.responses[0].localizedObjectAnnotations')) AS object
  WITH OFFSET AS position
