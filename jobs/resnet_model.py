"""Import an image classifier from a bucket, for use in SQL."""

from etlkit import Datamart

job = Datamart(file="jobs/sql/resnet_model.sql", variables={"model_bucket": "resnet-model"})
