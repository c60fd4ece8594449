"""The desk: what a clinic's people type about registry, stock, policy and ledger."""
