"""The test bench: treatments from files, played through the real parts instead of from a pen.

Nothing here decides or keeps anything. `tapes` reads recorded treatments, `recorder` makes them.
"""
