"""Links: one at a time, for months, and what is said and watched while one lives.

    connack          what a new link's CONNACK takes away
    attempts         what became of attempts and links, and how long to wait before the next
    status           birth and `offline`: what the device says of itself
    topics           the command topics in a session, and how they are left
    publish_watch    loses a link that never acknowledges
    unread_watch     tells of a device that reads and cannot keep up
    probe            notices a broker that has stopped to deliver
    service          one link, from its subscription to its end
    former_session   what waits under the client ID of earlier versions
    supervisor       the next link, another identity, the end

Begin with `supervisor`.
"""
