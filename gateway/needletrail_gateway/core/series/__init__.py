"""Time series: what they are called, and the points that the record makes.

Strategy: a point says what the ledger knows *now* of the thing that an entry touched, never what it
knew when the entry was new. So entries may be told once, again, in any batches or from the beginning:
if each is told after it was committed, the last words are the same. Everything here is pure: whoever
tells the entries looks up what is asked for.

- `depth`: a `Trace` of one session takes its samples in their order and gives the lines of readings and
  of seconds. The first verdict (its statement has no "amends") ends it with `finish()`. After a `badge`
  record the limit of the whole session may be another: make a new Trace of the row as it is now, and
  `count()` all samples of before. The same catches up after a start in the middle. Samples that were
  removed give nothing.
- `sessions`: whenever `is_about_session` says so of an entry, all of `session_points` are written
  again, for its session and for `next_use`.
- `daily`: `daily_points` of a day, from `touched_from` on.
"""
