"""What a command needs before it can use a database: where it is, which schema it has, and why it cannot be used."""
