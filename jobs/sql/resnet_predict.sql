-- For each photo, a score for each of the model's 1001 classes.
SELECT uri, activation_49
FROM ML.PREDICT(
  MODEL bqml_vision.resnet,
  (
    SELECT uri, ML.DECODE_IMAGE(data) AS input_1
    FROM bqml_vision.object_table
    WHERE content_type LIKE 'image/%'
  )
)
