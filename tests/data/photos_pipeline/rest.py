from etl_base import EtlBase
import urllib.request
import json

class Etl(EtlBase):
  def transform_row(self, row):
    address = "https://vision.googleapis.com/v1/images:annotate?key=ここに自分のキー"
    question = '{"requests": [{"image": {"source": {"imageUri": "' + row["uri"] + '"}}, "features": [{"type": "OBJECT_LOCALIZATION", "maxResults": 1}]}]}'
    request = urllib.request.Request(address, question.encode(), {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request) as answer:
      row["response"] = json.loads(answer.read())
    return row
