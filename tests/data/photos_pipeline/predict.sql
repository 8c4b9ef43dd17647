SELECT *
FROM ML.PREDICT(
  MODEL gallery.classifier,
  (SELECT uri, ML.DECODE_IMAGE(data) AS input_1 FROM gallery.pictures)
);
