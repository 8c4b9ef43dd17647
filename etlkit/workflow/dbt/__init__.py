"""dbt as a task of a workflow, in a process of its own."""
