"""Workflows: tasks, the order in which they run, branches and loops."""
