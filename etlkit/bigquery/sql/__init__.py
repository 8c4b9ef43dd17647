"""SQL texts of transfers, publishing and the ledger, as pure functions: names in, text out.

Each module is about one thing. Texts that only one room uses are in the `sql.py` of that room.
"""
