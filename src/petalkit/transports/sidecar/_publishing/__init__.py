"""Publishing through the sidecar: one POST for each message, several at once.

    connection   one HTTP connection, kept open
    requests     one message sent once, and its answer
    fault        whether a message that is answered no is at fault itself
    publisher    in order within a topic, until each has its outcome

It may import `_answers`, and the contract among the transports. Begin with `publisher`.
"""
