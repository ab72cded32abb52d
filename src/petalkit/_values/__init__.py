"""Values: what things are, and how they are read and written. No Trio, no input or output.

    basics/       what has nothing to do with commands: clocks, files, near names, the version
    types/        types of handlers and models <-> JSON
    errors        the exception tree, and the error codes of the wire
    error_codes   the error codes in the words of those who read them
    job_states    the states of a job, and which may follow which
    topics        topics, topic filters and identity segments, checked at birth
    structuring   one converter per petal, over types/
    statistics    the counters
    messages      messages of MQTT; commands and responses in them
    envelopes/    the envelopes of commands, and payloads that have none
    codec         bytes <-> JSON <-> commands
    settings/     every limit: name, unit, default, check
    dialects      how responses, receipts and events are worded
    request       what a sender asks for beside the command: until when, and where else to answer
    response_topics   which topics a sender may name for the answer

They are frozen, and import nothing else of petalkit. A new error code goes to `errors`, a new limit
to its group in `settings/`, a new member of every response to `dialects`, and what a caller reads
of it to `messages`. A new header of every response, a property of MQTT 5, is given by `Responses`
in `_serving/sending/`, and by `Reply` in `request`. Begin with `messages`.
"""
