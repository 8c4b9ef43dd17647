"""The local Vision: two small models behind Vision's REST and gRPC protocols."""
