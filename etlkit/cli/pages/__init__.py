"""Pages of HTML, each one self-contained file: what a run did, and what its tables hold."""
