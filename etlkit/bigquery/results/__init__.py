"""Results of published runs, kept in a table of the work dataset for later runs of the same job."""
