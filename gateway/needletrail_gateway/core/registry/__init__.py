"""The clinic's registry: what it says (model), how two differ (changes), how it stood (history)."""
