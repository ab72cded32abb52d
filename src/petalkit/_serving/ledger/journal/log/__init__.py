"""The log beside the database: what was put down last is here, and on disk by one write each.

    records   operations as bytes, and back
    device    the file, and the call that returns when it is on disk
    segments  what stands where in it, and in which order it is read again
    place     whether it is there, and belongs to the database
    layers    where the next record goes, and what is known of those not in the database yet

Begin with `segments`.
"""
