"""What is run to publish fastfc."""
