"""Accepted commands that have not started: in which order they may, and how many of whom there are.

    queue   the lines of all petals, and which command may start next

Begin with `queue`.
"""
