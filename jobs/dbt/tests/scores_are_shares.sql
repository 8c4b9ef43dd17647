-- A test must find no rows: scores are from 0 to 1.
SELECT uri, class_score, object_score
FROM {{ ref('photos') }}
WHERE NOT (class_score BETWEEN 0 AND 1 AND IFNULL(object_score, 0) BETWEEN 0 AND 1)
