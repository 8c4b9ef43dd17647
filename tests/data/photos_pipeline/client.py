from etl_base import EtlBase
from google.cloud import vision_v1

class Etl(EtlBase):
  def transform_row(self, row):
    #1行ごとにクライアントを作る
    vision = vision_v1.ImageAnnotatorClient()
    found = vision.label_detection({'source': {'image_uri': row["uri"]}})
    row["response"] = vision_v1.AnnotateImageResponse.to_dict(found)
    return row
