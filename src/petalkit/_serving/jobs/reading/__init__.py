"""Who is told of jobs and streams, and when.

    turns           one reader, and when its turns are
    subscriptions   who is told of what, how often: the latest value, at each one's own rate

Begin with `subscriptions`.
"""
