-- All results in one table: one row per photo, with what each model found, best first.
WITH
  with_classes AS (
    SELECT uri, ARRAY_AGG(STRUCT(found.label AS label, found.score AS score) ORDER BY found.rank) AS classes
    FROM bqml_vision.resnet_ranking AS found
    GROUP BY uri
  ),
  with_labels AS (
    SELECT
      photo.uri,
      ARRAY_AGG(
        STRUCT(
          JSON_VALUE(found, '$.description') AS label,
          CAST(JSON_VALUE(found, '$.score') AS FLOAT64) AS score
        )
        ORDER BY position
      ) AS labels
    FROM bqml_vision.vision_labels AS photo
    CROSS JOIN UNNEST(JSON_QUERY_ARRAY(photo.response, '$.responses[0].labelAnnotations')) AS found
      WITH OFFSET AS position
    GROUP BY photo.uri
  ),
  with_objects AS (
    SELECT
      uri,
      ARRAY_AGG(
        STRUCT(
          found.name AS name, found.score AS score,
          found.x_min AS x_min, found.y_min AS y_min, found.x_max AS x_max, found.y_max AS y_max
        )
        ORDER BY found.rank
      ) AS objects
    FROM bqml_vision.vision_objects_long AS found
    GROUP BY uri
  )
SELECT
  photo.uri, photo.generation, photo.content_type, photo.size, photo.md5_hash, photo.updated,
  with_classes.classes, with_labels.labels, with_objects.objects
FROM bqml_vision.object_table AS photo
LEFT JOIN with_classes ON with_classes.uri = photo.uri
LEFT JOIN with_labels ON with_labels.uri = photo.uri
LEFT JOIN with_objects ON with_objects.uri = photo.uri
