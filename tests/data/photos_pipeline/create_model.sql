CREATE MODEL gallery.classifier
OPTIONS(
  model_type='TENSORFLOW',
  model_path='gs://gallery-model/*');
