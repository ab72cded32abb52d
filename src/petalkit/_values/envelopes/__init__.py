"""The envelopes of commands, and payloads that have none.

    second_reading   what a payload is that cannot be decoded
    for_web          messages for web clients: like commands, or plain
    envelope         its bounds, and what is said of a payload that is no command

Begin with `envelope`.
"""
