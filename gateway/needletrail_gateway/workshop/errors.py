"""How the workshop says that it can not go on: a mistake in what was given, or a tool that failed."""


class WorkshopError(Exception):
    """Something that was given can not be used; the text says what, where, why and the remedy."""


class ToolError(Exception):
    """A program, a port or a pen did not do its part; the text says which, why and the remedy."""
