"""OpenLineage events of runs, for those who have said where to send them."""
