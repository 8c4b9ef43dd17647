CREATE MODEL bqml_vision.resnet
OPTIONS(
  model_type = 'TENSORFLOW',
  model_path = 'gs://モデル配置したバケット名/*');
