"""What BigQuery refuses and the emulator lets pass: a rule a function, each with its source.

`registry` has the list that `etlkit local rules` prints. Patches and extensions ask the rules where
their statements, rows and resources come by.
"""
