-- What was found on each photo: one row per object, and a photo without any has empty cells.
-- Vision leaves out a coordinate that is 0.
SELECT
  photo.uri,
  JSON_VALUE(object, '$.name') AS object,
  ROUND(CAST(JSON_VALUE(object, '$.score') AS FLOAT64), 2) AS score,
  CONCAT(
    IFNULL(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[0].x'), '0'), ' ',
    IFNULL(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[0].y'), '0'), ' ',
    IFNULL(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[2].x'), '0'), ' ',
    IFNULL(JSON_VALUE(object, '$.boundingPoly.normalizedVertices[2].y'), '0')
  ) AS box
FROM bqml_vision.vision_objects AS photo
LEFT JOIN UNNEST(JSON_QUERY_ARRAY(photo.response, '$.responses[0].localizedObjectAnnotations')) AS object
ORDER BY uri, score DESC
