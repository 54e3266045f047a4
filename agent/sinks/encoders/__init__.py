"""What an event looks like in each schema."""
