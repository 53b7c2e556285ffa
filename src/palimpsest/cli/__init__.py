"""The only door: people, rules and notebooks all come in here."""
