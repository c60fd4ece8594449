"""Pure decisions: no clock, no randomness, no files, no network. A test reads the imports."""
