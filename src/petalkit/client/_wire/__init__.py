"""From a call to the broker and back: commands out, responses in, over whatever link lives.

    statistics    what a client has counted
    commands      a command as a message, and until when it is wanted
    routes        the topics of one device, and on which of them it answers
    waiting       calls that wait, and which response is whose
    interests     what a client is subscribed to, on each link anew
    outgoing      what is to be published, in turn
    connection    one link at a time
    calling       a command, from its caller to its response

Begin with `calling`.
"""
