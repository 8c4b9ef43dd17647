"""The Storage Read and Write APIs."""
