"""What goes on at a device after its answer: jobs and streams, followed, and its events.

    following   what jobs and streams have in common
    jobs        `ClientJob`
    streams     `ClientStream`, `ClientEvents`

Begin with `following`.
"""
