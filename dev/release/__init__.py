"""`make release`: one tar with everything that an installation without the internet needs."""
