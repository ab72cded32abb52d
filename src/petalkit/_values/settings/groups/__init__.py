"""The settings by subject: each group declares its fields, with unit, check and default.

    broker       where to, and as whom
    security     credentials, TLS, proxies
    topics       topics, and the dialect
    link         the session, and the steps of a link
    sidecar      the external MQTT client
    intake       what is read, accepted, refused, acknowledged, or too old
    duplicates   finished commands that are remembered
    journal      the file, and its bounds
    dispatch     how many commands run at once
    jobs         how many run, who may watch them, and how long their ends are kept
    outbox       what is owed to the broker
    life         starts, stops, failures of petals
    compat/      what is for petals of the guide alone

A new limit goes to the group that its user would look for it in; the docs list it by itself. What
two settings say together is judged in `..settings`. No group knows another. Begin with `broker`.
"""
