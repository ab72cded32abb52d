"""Numbers, texts, times and addresses: one JSON value each.

    readers   JSON values -> Python's, or what is wrong with them
    nodes     the same as nodes, by type

Begin with `readers`.
"""
