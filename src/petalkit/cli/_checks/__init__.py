"""The checks of `petalkit doctor`, one module per subject; an import goes only upwards.

    _values        one check, and the verdict of several findings    no I/O
    _certificate   what a certificate says of itself                 no I/O
    _reasons       what a broker's "no" means, and what to do        no I/O
    _petals        TARGETs, loaded as `run` loads them
    _case          what is examined
    _files         settings, certificates, keys, who may read them
    _identity      organization ID and device ID
    _journal       the journal's file
    _mqtt          a CONNECT by hand: who listens there?
    _network       names, sockets
    _tls           the handshake, the server's certificate, the clock
    _broker        CONNECT, and what the broker limits
    _rights        which topics are allowed
    _sidecar       the external client, and where its messages come in
    _device        round trips to the running device
    _plan          all of them in order, and which needs which

The rules: every wait has a limit; nothing is changed, on the device or at the broker; nothing
that is secret and no payload comes into a text.
"""

from __future__ import annotations
