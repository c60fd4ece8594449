"""One module a part, each with its bus or pins passed in; none imports `machine`.

A sensor's `read` gives a value or -1, never an old or a guessed one, and its `fault` is None or one
of the words in `faults`. What a timer's interrupt calls allocates nothing and raises nothing.
"""
