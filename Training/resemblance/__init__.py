"""Whether synthetic tumors can be told from real ones."""
