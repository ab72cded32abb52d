"""What the journal forgets, and when.

    age      what is too old, by a clock that can be wrong
    pruning  which finished commands are let go

Begin with `pruning`.
"""
