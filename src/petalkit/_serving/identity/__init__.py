"""Who this device is: organization and device ID, and the client ID that is made of them.

    sources      where the organization ID comes from
    device       the IDs of a device, as far as they are known without waiting
    client_id    the MQTT client ID, one for each identity
    waiter       asks until the organization ID is known, and whether it is another

Begin with `waiter`.
"""
