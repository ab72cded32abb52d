"""What the journal forgets, and when.

    age      what is too old, by a clock that can be wrong
    owed     what stays: a command whose answer is not settled
    pruning  which finished commands are let go

Begin with `pruning`.
"""
