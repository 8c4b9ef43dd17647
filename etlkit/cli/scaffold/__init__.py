"""The files of a new project, and of a new transform, job or datamart in it."""
