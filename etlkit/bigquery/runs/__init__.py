"""The ledger of runs: how a run is found, owned and resumed."""
