"""Custom variables `$name$`: definitions, values, substitution into SQL."""
