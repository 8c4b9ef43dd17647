-- What was found in each photo: one row per object; a photo without objects has one row with NULLs.
-- The box is left, top, right, bottom. Vision omits a coordinate that is 0.
SELECT
  photo.uri,
  JSON_VALUE(object, '$.name') AS object,
  ROUND(CAST(JSON_VALUE(object, '$.score') AS FLOAT64), 2) AS score,
  IF(object IS NULL, NULL, FORMAT(
    '%.3f %.3f %.3f %.3f',
    IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[0].x') AS FLOAT64), 0),
    IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[0].y') AS FLOAT64), 0),
    IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[2].x') AS FLOAT64), 0),
    IFNULL(CAST(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[2].y') AS FLOAT64), 0)
  )) AS box
FROM bqml_vision.vision_objects AS photo
LEFT JOIN UNNEST(JSON_QUERY_ARRAY(photo.response, '$.responses[0].localizedObjectAnnotations')) AS object
ORDER BY uri, score DESC
