  # CREATE an object TABLE
CREATE OR REPLACE EXTERNAL TABLE
  bqml_vision.object_table
# 下記uriは複数してもできる様子
WITH CONNECTION 作成した外部コネクタ名 OPTIONS(uris="gs://具体的に読み込みたいバケットやフォルダ/*",
    object_metadata="SIMPLE")
    #max_staleness = MAKE_INTERVAL(),
    #metadata_cache_mode="AUTOMATIC")
    ;
