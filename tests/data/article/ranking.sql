WITH predict AS(
  SELECT
    *
  FROM
    ML.PREDICT( MODEL bqml_vision.resnet,
      (
      SELECT
        uri,
        ML.DECODE_IMAGE(DATA) AS input_1
      FROM
        bqml_vision.object_table)) 
  ), t_unnest AS (
    SELECT
      score
    FROM
      predict,
      UNNEST(activation_49) AS score
  ), t_score AS (
    SELECT
      ROW_NUMBER() OVER () AS row_num,
      score
    FROM
      t_unnest )
  SELECT
    t_score.row_num,
    t_score.score,
    label.string_field_1 AS label
  FROM
    t_score
  JOIN
    `bqml_vision.label` AS label
  ON
    t_score.row_num = label.int64_field_0
  ORDER BY
    t_score.score desc
