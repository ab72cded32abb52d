"""Who this device is: organization and device ID, and the client ID that is made of them.

    sources   where the organization ID comes from
    device    the IDs of a device, as far as they are known without waiting
    waiter    asks until the organization ID is known, and whether it is another

Begin with `waiter`.
"""
