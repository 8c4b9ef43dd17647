"""What `etlkit prove` does: a user's job under kills, cuts and bad answers, compared with calm runs."""
