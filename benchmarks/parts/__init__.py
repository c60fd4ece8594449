"""What the benchmarks share: pens with records of real tapes, load, peers, and printing."""
