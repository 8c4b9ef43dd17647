"""What `etlkit doctor` looks at: the installation, the local world, and Google Cloud."""
