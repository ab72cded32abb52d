"""What is in the log, put into the database: many operations at once, by few statements.

    statements  SQL of many rows each
    rows        rows of the database, read as records
    batch       what is folded together, and what is known of it before
    overlay     records as both make them: the database, and what is not folded yet
    view        the same, for a program that only looks
    fold        a batch, put into the database in one transaction
    database    the database while a runtime uses it: what is folded, and what it lets go

Begin with `batch`.
"""
