"""What is put down, on its way to the disk.

    writer        the thread that waits for the disk
    known         what the journal knows without a look at it
    upkeep        the store with what keeps it within its bounds
    folding       from the log into the database, beside what is written
    telling       calls those who wait
    twice         waits for what is put down, and for what is put down because of that
    group_commit  batch after batch, and what happens when the disk fails

Begin with `group_commit`.
"""
