-- The best classes of each photo. This uses WITH OFFSET instead of ROW_NUMBER() OVER (): the rows of a
-- query have no order, so only the offset says which class a score belongs to. Label 1 is class 0.
SELECT
  predictions.uri,
  ROW_NUMBER() OVER (PARTITION BY predictions.uri ORDER BY score DESC, class) AS rank,
  label.string_field_1 AS label,
  score
FROM bqml_vision.resnet_predictions AS predictions
CROSS JOIN UNNEST(predictions.activation_49) AS score WITH OFFSET AS class
JOIN bqml_vision.label AS label ON label.int64_field_0 = class + 1
WHERE TRUE
QUALIFY rank <= 5
