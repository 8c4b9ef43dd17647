"""One run shared by many workers: its shards, who works on which, and what they use together."""
