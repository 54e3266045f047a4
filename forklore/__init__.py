"""The command. Must not live here: anything but the choice of who answers it."""
