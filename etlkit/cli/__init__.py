"""The command `etlkit`: reads the command line, prints for people and for programs."""
