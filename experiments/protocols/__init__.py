"""How a number is made and recorded."""
