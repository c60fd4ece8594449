"""Time series: what they are called, and the points that the record makes."""
