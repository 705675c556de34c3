"""Who may do what: privileges, and tokens that prove who asks."""
