"""Directories and files that nobody but root and this node's users can exchange.

Whoever may write a directory, or replace one on the way to it, decides what a process
of ours reads there, and what it overwrites.
"""
