"""The ledger's schema, step by step. `versions/` holds one file a step; none is ever changed."""
