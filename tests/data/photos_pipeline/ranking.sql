WITH answers AS(
  SELECT *
  FROM ML.PREDICT( MODEL gallery.classifier,
    (SELECT uri, ML.DECODE_IMAGE(DATA) AS input_1 FROM gallery.pictures))
), scores AS (
  SELECT value
  FROM answers, UNNEST(activation_49) AS value
), numbered AS (
  SELECT ROW_NUMBER() OVER () AS class_number, value
  FROM scores
)
SELECT
  numbered.class_number,
  numbered.value AS score,
  class_names.string_field_1 AS label
FROM numbered
JOIN `gallery.class_names` AS class_names
  ON numbered.class_number = class_names.int64_field_0
ORDER BY numbered.value desc
