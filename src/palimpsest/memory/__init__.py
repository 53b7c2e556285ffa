"""Memory mechanisms, one a file; pure functions of a state that is passed in and out."""
