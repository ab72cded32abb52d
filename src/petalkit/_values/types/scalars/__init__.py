"""Numbers, texts, times and addresses: one JSON value each.

    readers   JSON values -> Python's, or what is wrong with them
    nodes     the same as nodes, by type
    keys      the same, read from the text of a key

Begin with `readers`.
"""
