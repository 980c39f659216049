"""The actors of a node, their messages and links, the supervisor, and the wiring."""
