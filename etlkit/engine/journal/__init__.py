"""The journal of a run: what was answered and is not durable in the sink yet, in local files."""
