"""People compare answers blindly: pairs, raters and votes in a database, and what the votes say."""
