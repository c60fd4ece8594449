"""What is said when a ledger can not be used."""


class LedgerError(Exception):
    """The ledger can not be used; the text says why and what to do."""
