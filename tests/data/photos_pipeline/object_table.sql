# The pictures of one bucket as a table
CREATE OR REPLACE EXTERNAL TABLE
  gallery.pictures
# 接続は先に作っておく
WITH CONNECTION us.gallery_connection OPTIONS(uris="gs://gallery-pictures/*",
    object_metadata="SIMPLE")
    #max_staleness = INTERVAL 1 HOUR,
    #metadata_cache_mode = "AUTOMATIC"
;
