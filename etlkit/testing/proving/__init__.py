"""What `etlkit prove` does: a user's own job under kills, cuts and bad answers, and what it is worth then."""
