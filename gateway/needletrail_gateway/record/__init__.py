"""The record: an append-only, chained, signed ledger, its proof, its copies and its schema."""
