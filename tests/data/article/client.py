from etl_base import EtlBase
from google.cloud import vision_v1
import urllib.request
import json

class Etl(EtlBase):
  # def __init__(self):
  #   pass

  def transform_row(self, row):
    #Pythonのクライアントこれだけで書ける
    client = vision_v1.ImageAnnotatorClient()
    replies = []
    results = client.label_detection({'source': {'image_uri': row["uri"]}})
    row["response"] = vision_v1.AnnotateImageResponse.to_dict(results)
    return row
