SELECT *
FROM ML.PREDICT(
  MODEL bqml_vision.resnet,
  (SELECT uri, ML.DECODE_IMAGE(data) AS input_1
  FROM bqml_vision.object_table)
);
