"""Checks of `petalkit doctor` on the way to a broker, and with it.

    network   names, addresses, proxies
    mqtt      a CONNECT of our own, to see what is answered
    rights    may we subscribe and publish
    device    does a device answer
    sidecar   the external client
    tls       handshake and certificate
    broker    CONNECT, and what the broker grants

They may import what is beside this folder. Begin with `broker`; `..plan` has
their order.
"""
