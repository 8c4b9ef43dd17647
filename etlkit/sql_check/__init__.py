"""`etlkit check`: the SQL of jobs, analyzed without running it. The analyzer itself is handed in."""
