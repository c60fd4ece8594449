"""A period once more: the record's sessions refolded, many readings at a time, and judged again."""
