-- An image classifier, a TensorFlow SavedModel, for use in SQL.
CREATE SCHEMA IF NOT EXISTS bqml_vision;

CREATE OR REPLACE MODEL bqml_vision.resnet
OPTIONS (model_type = 'TENSORFLOW', model_path = 'gs://$model_bucket$/*');
