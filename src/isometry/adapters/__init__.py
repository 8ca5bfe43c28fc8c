"""How frameworks are read: one folder each, named after the framework's root module, with the same names inside."""
