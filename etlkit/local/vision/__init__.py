"""The local Vision: REST and gRPC in front of two small models."""
