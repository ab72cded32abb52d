"""The commands that call a device, as a person and as a script have them."""
