"""What deletes rows of the store: their age, and a volume that is nearly full."""
