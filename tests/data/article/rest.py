from etl_base import EtlBase
import urllib.request
import json
#from google.cloud import vision_v1

class Etl(EtlBase):
  # def __init__(self):
  #   pass

  def transform_row(self, row):
    # row["new_column"] = "trocco"

    #{}.formatはNG
    url = "https://vision.googleapis.com/v1/images:annotate?key=発行したAPIキーを記載"
    json_requests = '{ "requests":[ { "image":{ "source":{ "imageUri":  "' + row["uri"] + '"} }, "features":[ { "type":"OBJECT_LOCALIZATION", "maxResults":1 } ] } ] }'
    headers = {'Content-Type': 'application/json'}
    req = urllib.request.Request(url, json_requests.encode(), headers)
    with urllib.request.urlopen(req) as res:
      rsp = json.loads(res.read())
      row["response"] = rsp 
    return row
