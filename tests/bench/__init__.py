"""The bench: tapes read strictly, tapes made from scripts, and truths as oracle for the judge."""
