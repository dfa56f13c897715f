"""Tumors and cysts of real shape, grown into kidneys."""
