"""The clinic's gateway: takes in what pens send, judges it, keeps the record, feeds the views.

`core` decides and never touches the world; `shell` touches the world and decides nothing; `bench`
plays recorded treatments through the real parts; `cli` is what a person types.
"""
