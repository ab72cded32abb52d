"""The checks of `petalkit doctor`.

    values        one check, and the verdict of several findings    no I/O
    certificate   what a certificate says of itself                 no I/O
    reasons       what a broker's "no" means, and what to do        no I/O
    notices       what loading warns of, taken out of the log
    petals        TARGETs, loaded as `run` loads them
    case          what is examined
    machine/      settings, certificates, keys, identity, journal
    broker/       names, sockets, TLS, CONNECT, rights, the running device
    plan          all of them in order, and which needs which

The rules: every wait has a limit; nothing is changed, on the device or at the broker; nothing
that is secret and no payload comes into a text. Begin with `plan`, where a new check
of the broker is a line; those of the machine are called by `.._doctor`.
"""

from __future__ import annotations
