"""Checks of `petalkit doctor` that need no network.

    files      configuration, secrets, certificates
    journal    the journal's file, and who uses it
    identity   organization and device

They may import what is beside this folder, and nothing of `broker/`. Begin with `files`.
"""
